"""`afdctl watch`: the dashboard on any run, live or finished; as one frame; in a browser; or as plain lines."""

import contextlib
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from afdctl import paths
from afdctl.cli import output_path, process, watch_folder
from afdctl.cli.options import find_run, number, run_names
from afdctl.errors import AfdctlError, RecipeError, StoppedError

NAMES = typer.Argument(
    metavar="[RUN]...",
    show_default=False,
    help="Paths or names of runs, or - for stdin; the newest by default. Or a folder of runs.",
)
RUNS = typer.Option(parser=paths.path, help="The folder of the runs.")
ONCE = typer.Option("--once", help="Draw one frame without a terminal: text to stdout, or a picture with --svg.")
SVG = output_path.option("--svg", help="The file or folder for the picture of --once.")
SIZE = typer.Option(metavar="WIDTHxHEIGHT", help="The size of --once in cells.")
REPLAY = typer.Option(
    metavar="SPEED", parser=number(0.01, 1e6), help="Replay the run at SPEED times its pace.", show_default=False
)
READ_ONLY = typer.Option("--read-only", help="Do not let keys stop the run or request a checkpoint.")
SERVE = typer.Option("--serve", help="Serve the dashboard, read-only, to browsers on this machine.")
PORT = typer.Option(min=1, max=65535, help="The port of --serve.")
FOLLOW_SECONDS = 0.5
# --serve is for browsers on this machine only
HOST = "127.0.0.1"


def watch(
    names: Annotated[list[str] | None, NAMES] = None,
    runs: Annotated[Path, RUNS] = Path("runs"),
    once: Annotated[bool, ONCE] = False,
    svg: Annotated[output_path.OutputPath | None, SVG] = None,
    size: Annotated[str, SIZE] = "150x44",
    replay: Annotated[float | None, REPLAY] = None,
    read_only: Annotated[bool, READ_ONLY] = False,
    serve: Annotated[bool, SERVE] = False,
    port: Annotated[int, PORT] = 8000,
) -> None:
    """Watch running, stopped, crashed or finished runs. Several runs are compared.

    Leaving the dashboard does not affect the training. Without a terminal, progress goes to stdout as plain lines. Of
    a folder, a table shows state, epoch and best epoch of each run.
    """
    width, height = _parse_size(size)
    if svg and not once:
        raise RecipeError("--svg needs --once; add it, or press e in the dashboard")
    if svg:
        svg.check()
    if names and watch_folder.is_folder_of_runs(paths.path(names[0])):
        if len(names) > 1 or svg or replay or serve:
            raise RecipeError(f"{names[0]}: a folder of runs is shown alone, as a table; name a run for other options")
        watch_folder.watch_folder(paths.path(names[0]), once=once)
        return
    folders = [find_run(name, runs).path for name in run_names(names or [])]
    if once:
        _print_frame(folders, width, height, svg)
    elif serve:
        serve_in_browser(folders, port)
    elif process.is_interactive() or process.is_served():
        _open_dashboard(folders, replay, read_only)
    else:
        _print_lines(folders[0])


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    if not match or not int(match[1]) or not int(match[2]):
        raise RecipeError(f"--size '{text}': must be a width and a height in cells, such as 150x44")
    return int(match[1]), int(match[2])


def _print_frame(folders: list[Path], width: int, height: int, svg: output_path.OutputPath | None) -> None:
    """Print one frame as text, or the path of its SVG."""
    from afdctl.tui.screen import still_frame

    frame = still_frame(folders, width, height, colours=svg is not None or sys.stdout.isatty())
    if svg is None:
        coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        text = frame.ansi() if coloured else frame.text() + "\n"
        typer.echo(text, nl=False, file=process.raw_stream(sys.stdout))
        return
    from afdctl.runs import files
    from afdctl.tui.drawing.svg import to_svg

    path = svg.file(f"{output_path.runs_in_words([folder.resolve().name for folder in folders])}.svg")
    files.write_text(path, to_svg(frame, f"afdctl: {folders[0].name}"))
    typer.echo(path)


def _open_dashboard(folders: list[Path], replay: float | None, read_only: bool) -> None:
    from afdctl.tui.app import Dashboard
    from afdctl.tui.session import Options

    options = Options(read_only=read_only, served=process.is_served(), replay=replay)
    if number := Dashboard(folders, options).show():
        raise StoppedError("", number)


def _print_lines(folder: Path) -> None:
    """Print a line for each event, past and new, until no process writes the run."""
    from afdctl.cli.progress import TrainingProgress
    from afdctl.cli.progress_reporter import ProgressReporter
    from afdctl.runs.folders import JOURNAL
    from afdctl.runs.record import lost_rows
    from afdctl.runs.run import Run
    from afdctl.tui.state.follower import RunFollower
    from afdctl.tui.state.history import MALFORMED

    lines, run = TrainingProgress(ProgressReporter(typer.echo)), RunFollower(folder)
    try:
        for row in run.rows(FOLLOW_SECONDS, time.sleep):
            try:
                lines.on_row(row)
            except MALFORMED:
                typer.echo(f"warning: a line that this afdctl cannot read: {row['event']}", err=True)
    except BrokenPipeError:
        raise process.broken_pipe_error() from None
    with suppress(AfdctlError):  # a journal that is damaged elsewhere is reported below
        for words in lost_rows(Run(folder)):
            typer.echo(f"warning: {words}", err=True)
    if run.damaged:
        typer.echo(f"warning: {folder}/{JOURNAL}: {run.damaged} damaged lines were left out", err=True)


def serve_in_browser(paths: Sequence[Path], port: int) -> None:
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
