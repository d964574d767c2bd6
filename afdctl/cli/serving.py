"""`afdctl watch --serve`: a read-only dashboard for browsers on this machine."""

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
    """Serve until a signal comes. Each browser tab gets its own dashboard process, which ends with this one."""
    # exec leaves no shell in between, so that the dashboard notices at once when the server exits
    command = "exec " + shlex.join(
        [sys.executable, "-m", "afdctl", "watch", "--read-only", "--", *(str(path.resolve()) for path in paths)]
    )
    server = guarded_server(command, port)
    typer.echo(f"open http://{HOST}:{port}; from another machine, first run ssh -L {port}:{HOST}:{port} HOST", err=True)
    # stdout is for results, not for messages of the library
    with contextlib.redirect_stdout(sys.stderr):
        server.serve()


def guarded_server(command: str, port: int) -> Any:
    """Return a server that only accepts requests of its own pages. AfdctlError if textual-serve is missing."""
    try:
        from aiohttp import web
        from textual_serve.server import Server
    except ImportError:
        raise AfdctlError("--serve needs textual-serve; install it with `pip install 'afdctl[serve]'`") from None

    from afdctl.cli.console import Console

    hosts = {f"{name}:{port}" for name in (HOST, "localhost")} | ({HOST, "localhost"} if port == 80 else set())
    origins = {f"http://{host}" for host in hosts}

    async def refuse_others(request: Any, handler: Any) -> Any:
        """Answer 403 to a foreign Host (DNS rebinding) and to a foreign Origin (a page of another site)."""
        host, origin = request.headers.getall("Host", []), request.headers.getall("Origin", [])
        if len(host) != 1 or host[0].lower() not in hosts or not origins.issuperset(map(str.lower, origin)):
            raise web.HTTPForbidden(text=f"open http://{HOST}:{port} directly\n")
        return await handler(request)

    class GuardedServer(Server):  # type: ignore[misc]
        # textual-serve has no public way to add a middleware
        async def _make_app(self) -> Any:
            app = await super()._make_app()
            app.middlewares.append(web.middleware(refuse_others))
            return app

        async def on_startup(self, app: Any) -> None:
            """Print no banner."""

        async def _process_messages(self, websocket: Any, app_service: Any) -> None:
            # a client that sends something else than the browser's messages is disconnected
            with contextlib.suppress(AssertionError, AttributeError, LookupError, TypeError, ValueError):
                await super()._process_messages(websocket, app_service)

    server = GuardedServer(command, host=HOST, port=port, title="afdctl")
    server.console = Console(stderr=True)
    return server
