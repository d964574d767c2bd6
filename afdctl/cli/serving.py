"""`afdctl watch --serve`: the dashboard in a browser on this machine, to look at and no more."""

import contextlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from afdctl.errors import AfdctlError

HOST = "127.0.0.1"


def serve(paths: Sequence[Path], port: int) -> None:
    """Serve until a signal comes. Each tab of the browser gets a dashboard of its own, which ends with this process."""
    # no shell stays between the two: the dashboard sees at once that its server is gone
    command = "exec " + shlex.join(
        [sys.executable, "-m", "afdctl", "watch", "--read-only", "--", *(str(path.resolve()) for path in paths)]
    )
    server = guarded(command, port)
    typer.echo(f"http://{HOST}:{port} shows it; from elsewhere: ssh -L {port}:{HOST}:{port} HOST", err=True)
    # the library's own words are no result
    with contextlib.redirect_stdout(sys.stderr):
        server.serve()


def guarded(command: str, port: int) -> Any:
    """The library's server, for pages of its own address only. Error: AfdctlError where the library is missing."""
    try:
        from aiohttp import web
        from textual_serve.server import Server
    except ImportError:
        raise AfdctlError("--serve needs textual-serve; install it with `pip install 'afdctl[serve]'`") from None

    from afdctl.cli.console import Console

    hosts = {f"{name}:{port}" for name in (HOST, "localhost")} | ({HOST, "localhost"} if port == 80 else set())
    origins = {f"http://{host}" for host in hosts}

    async def refuse_others(request: Any, handler: Any) -> Any:
        """403 for a foreign name of this machine (DNS rebinding), and for what another site's page asks for."""
        named, asked = request.headers.getall("Host", []), request.headers.getall("Origin", [])
        if len(named) != 1 or named[0].lower() not in hosts or not origins.issuperset(map(str.lower, asked)):
            raise web.HTTPForbidden(text=f"open http://{HOST}:{port} itself\n")
        return await handler(request)

    class Guarded(Server):  # type: ignore[misc]
        async def _make_app(self) -> Any:
            app = await super()._make_app()
            app.middlewares.append(web.middleware(refuse_others))
            return app

        async def on_startup(self, app: Any) -> None:
            pass

        async def _process_messages(self, websocket: Any, app_service: Any) -> None:
            # whoever does not speak the browser's language is shown out
            with contextlib.suppress(AssertionError, AttributeError, LookupError, TypeError, ValueError):
                await super()._process_messages(websocket, app_service)

    server = Guarded(command, host=HOST, port=port, title="afdctl")
    server.console = Console(stderr=True)
    return server
