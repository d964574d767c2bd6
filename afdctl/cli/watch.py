"""`afdctl watch`: the dashboard on any run, live or finished; one frame of it as text or picture; or in a browser."""

import contextlib
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from afdctl import files
from afdctl.cli import place, terminal
from afdctl.cli.named import find, specs
from afdctl.errors import AfdctlError, RecipeError, StoppedError

NAMES = typer.Argument(
    metavar="[RUN]...", show_default=False, help="Paths or names of runs, or - for stdin; the newest by default."
)
RUNS = typer.Option(parser=files.path, help="The folder that holds the runs.")
ONCE = typer.Option("--once", help="Draw one frame without a terminal: text to stdout, or a picture with --svg.")
SVG = place.option("--svg", help="Where --once writes its picture: a file, or a folder for it.")
SIZE = typer.Option(metavar="WIDTHxHEIGHT", help="The size of --once in cells.")
REPLAY = typer.Option(
    metavar="SPEED", min=0.01, max=1e6, help="Show the run once more, so many times as fast.", show_default=False
)
READ_ONLY = typer.Option("--read-only", help="Neither stop the run nor ask it for a checkpoint.")
SERVE = typer.Option("--serve", help="Show it, read-only, to a browser on this machine.")
PORT = typer.Option(min=1, max=65535, help="The port of --serve.")
FOLLOW_SECONDS = 0.5


def watch(
    names: Annotated[list[str] | None, NAMES] = None,
    runs: Annotated[Path, RUNS] = Path("runs"),
    once: Annotated[bool, ONCE] = False,
    svg: Annotated[place.Place | None, SVG] = None,
    size: Annotated[str, SIZE] = "150x44",
    replay: Annotated[float | None, REPLAY] = None,
    read_only: Annotated[bool, READ_ONLY] = False,
    serve: Annotated[bool, SERVE] = False,
    port: Annotated[int, PORT] = 8000,
) -> None:
    """Watch runs: running, stopped, crashed or finished. Several are compared.

    Leaving never touches a training. Without a terminal, the run's story goes to stdout in plain lines.
    """
    width, height = _size(size)
    if svg and not once:
        raise RecipeError("--svg is the picture of --once; add --once, or press e in the dashboard")
    if svg:
        svg.check()
    paths = [find(name, runs).path for name in specs(names or [])]
    if once:
        typer.echo(_frame(paths, width, height, svg), nl=svg is not None)
    elif serve:
        _serve(paths, port)
    elif terminal.interactive() or terminal.served():
        _show(paths, replay, read_only)
    else:
        _tell(paths[0])


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    if not match or not int(match[1]) or not int(match[2]):
        raise RecipeError(f"--size '{text}': must be a width and a height in cells, such as 150x44")
    return int(match[1]), int(match[2])


def _frame(paths: list[Path], width: int, height: int, svg: place.Place | None) -> str:
    """One frame as text, or the path of its picture."""
    from afdctl.tui.once import frame

    screen = frame(paths, width, height, colours=svg is not None or sys.stdout.isatty())
    if svg is None:
        return screen.ansi() if sys.stdout.isatty() and "NO_COLOR" not in os.environ else screen.text() + "\n"
    from afdctl.store import atomic
    from afdctl.tui.drawing.svg import svg as picture

    path = svg.file(f"{place.runs_in_words([path.resolve().name for path in paths])}.svg")
    atomic.write_bytes(path, picture(screen, f"afdctl: {paths[0].name}").encode())
    return str(path)


def _show(paths: list[Path], replay: float | None, read_only: bool) -> None:
    from afdctl.tui.app import Dashboard
    from afdctl.tui.session import Options

    options = Options(read_only=read_only, served=terminal.served(), replay=replay)
    if number := Dashboard(paths, options).run() or 0:
        raise StoppedError("", number)


def _serve(paths: list[Path], port: int) -> None:
    """Each tab of the browser gets a read-only dashboard of its own."""
    try:
        from textual_serve.server import Server
    except ImportError:
        raise AfdctlError("--serve needs textual-serve; install it with `pip install 'afdctl[serve]'`") from None

    command = shlex.join(
        [sys.executable, "-m", "afdctl", "watch", "--read-only", *(str(path.resolve()) for path in paths)]
    )
    typer.echo(f"http://127.0.0.1:{port} shows it; from elsewhere: ssh -L {port}:127.0.0.1:{port} HOST", err=True)
    # its own words are no result
    with contextlib.redirect_stdout(sys.stderr):
        Server(command, host="127.0.0.1", port=port, title="afdctl").serve()


def _tell(path: Path) -> None:
    """Plain lines of what has happened and happens, until nothing writes the run any more."""
    import json

    from afdctl.cli.pipes import reader_gone
    from afdctl.cli.progress import Lines
    from afdctl.tui.reading.watched import Watched

    lines, run = Lines(typer.echo), Watched(path)
    try:
        for row in run.rows(FOLLOW_SECONDS, time.sleep):
            lines.on_line(json.dumps(row))
    except BrokenPipeError:
        raise reader_gone() from None
