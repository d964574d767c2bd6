"""Test `afdctl watch --serve`: allowed clients, sizes and lifetime."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from afdctl.cli.watch import guarded_server
from tests.tui import journals

aiohttp = pytest.importorskip("aiohttp")
web = pytest.importorskip("aiohttp.web")
pytest.importorskip("textual_serve")
pytestmark = pytest.mark.filterwarnings("default")

NOTHING = "printf '__GANGLION__\\n'; exec cat > /dev/null"
"""What the server takes for a dashboard."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def asked(ask: Callable[[Any, int], Awaitable[Any]]) -> Any:
    """Return the answer of a server in this process."""

    async def run() -> Any:
        port = free_port()
        runner = web.AppRunner(await guarded_server(NOTHING, port)._make_app())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            async with aiohttp.ClientSession() as session:
                return await ask(session, port)
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def test_a_page_is_given_under_the_servers_own_names_only():
    async def ask(session: Any, port: int) -> list[int]:
        found = []
        for host in (f"127.0.0.1:{port}", f"LOCALHOST:{port}", "localhost", f"evil.example:{port}", "127.0.0.1:1", ""):
            async with session.get(f"http://127.0.0.1:{port}/", headers={"Host": host}) as answer:
                found.append(answer.status)
        return found

    assert asked(ask) == [200, 200, 403, 403, 403, 403]


def test_a_socket_is_opened_for_pages_of_this_server_only():
    async def ask(session: Any, port: int) -> list[int]:
        found = []
        own, other = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
        for origin in (own, other, "http://evil.example", "null", f"https://127.0.0.1:{port}", "http://127.0.0.1:1"):
            try:
                async with session.ws_connect(f"ws://127.0.0.1:{port}/ws", headers={"Origin": origin}) as one:
                    # a message that no browser sends closes the connection, without any output here
                    await one.send_str("{")
                    await one.receive(timeout=10)
                    found.append(101)
            except aiohttp.WSServerHandshakeError as error:
                found.append(error.status)
        return found

    assert asked(ask) == [101, 101, 403, 403, 403, 403]


@pytest.mark.slow
def test_a_browser_only_looks_and_its_dashboard_ends_with_the_server(tmp_path: Path):
    port = free_port()
    run = journals.write(tmp_path / "runs" / "r-001", journals.training(620))
    server = subprocess.Popen(
        [sys.executable, "-m", "afdctl", "watch", "--serve", "--port", str(port), str(run)],
        cwd=tmp_path,
        env=os.environ | {"XDG_CONFIG_HOME": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )

    async def seen(browser: Any, what: bytes, seconds: float = 30.0) -> bytes:
        found = b""
        async with asyncio.timeout(seconds):
            while what not in found:
                message = await browser.receive()
                assert message.type == aiohttp.WSMsgType.BINARY
                found += message.data
        return found

    async def look() -> None:
        before = set(tmp_path.rglob("*"))
        url = f"ws://127.0.0.1:{port}/ws?width=-5&height=999999999"
        async with aiohttp.ClientSession() as session:
            for _ in range(200):
                try:
                    browser = await session.ws_connect(url)
                    break
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.1)
            await browser.send_json(["resize", {"width": "wide", "height": None}])
            await browser.send_json(["resize", {"width": 150, "height": 44}])
            await seen(browser, b"Health")
            await browser.send_json(["stdin", "eEkxt"])
            await browser.send_json(["resize", {"width": 10**9, "height": 10**9}])
            await browser.send_json(["resize", {"width": 150, "height": 45}])
            await browser.send_json(["stdin", "?"])
            await seen(browser, b"suspend")
            assert set(tmp_path.rglob("*")) == before, "nothing was written"
            viewers = psutil.Process(server.pid).children(recursive=True)
            assert len(viewers) == 1
            assert viewers[0].memory_info().rss < 1 << 29
            os.kill(server.pid, signal.SIGKILL)
            assert not psutil.wait_procs(viewers, 20)[1]

    try:
        asyncio.run(look())
    finally:
        server.kill()
        server.wait()
