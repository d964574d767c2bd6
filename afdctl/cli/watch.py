"""`afdctl watch`: the dashboard on any run, live or finished; one frame of it as text or picture; or in a browser."""

import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from afdctl import paths
from afdctl.cli import output_path, serving, terminal
from afdctl.cli.arguments import find_runs, run_names
from afdctl.cli.printing import beneath
from afdctl.errors import AfdctlError, RecipeError, StoppedError

NAMES = typer.Argument(
    metavar="[RUN]...", show_default=False, help="Paths or names of runs, or - for stdin; the newest by default."
)
RUNS = typer.Option(parser=paths.path, help="The folder that holds the runs.")
ONCE = typer.Option("--once", help="Draw one frame without a terminal: text to stdout, or a picture with --svg.")
SVG = output_path.option("--svg", help="Where --once writes its picture: a file, or a folder for it.")
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
    svg: Annotated[output_path.OutputPath | None, SVG] = None,
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
    paths = [find_runs(name, runs).path for name in run_names(names or [])]
    if once:
        _once(paths, width, height, svg)
    elif serve:
        serving.serve(paths, port)
    elif terminal.interactive() or terminal.served():
        _show(paths, replay, read_only)
    else:
        _tell(paths[0])


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    if not match or not int(match[1]) or not int(match[2]):
        raise RecipeError(f"--size '{text}': must be a width and a height in cells, such as 150x44")
    return int(match[1]), int(match[2])


def _once(paths: list[Path], width: int, height: int, svg: output_path.OutputPath | None) -> None:
    """Print one frame, or the path of its picture."""
    from afdctl.tui.screen import frame

    screen = frame(paths, width, height, colours=svg is not None or sys.stdout.isatty())
    if svg is None:
        coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        typer.echo(screen.ansi() if coloured else screen.text() + "\n", nl=False, file=beneath(sys.stdout))
        return
    from afdctl.runs import files
    from afdctl.tui.drawing.svg import svg as picture

    path = svg.file(f"{output_path.runs_in_words([path.resolve().name for path in paths])}.svg")
    files.write_text(path, picture(screen, f"afdctl: {paths[0].name}"))
    typer.echo(path)


def _show(paths: list[Path], replay: float | None, read_only: bool) -> None:
    from afdctl.tui.app import Dashboard
    from afdctl.tui.session import Options

    options = Options(read_only=read_only, served=terminal.served(), replay=replay)
    if number := Dashboard(paths, options).show():
        raise StoppedError("", number)


def _tell(path: Path) -> None:
    """Plain lines of what has happened and happens, until nothing writes the run any more."""
    import json

    from afdctl.cli.broken_pipe import broken_pipe_error
    from afdctl.cli.progress import Lines
    from afdctl.runs.folders import JOURNAL
    from afdctl.runs.lost_rows import lost_rows
    from afdctl.runs.run import Run
    from afdctl.tui.state.follower import RunFollower
    from afdctl.tui.state.history import MALFORMED

    lines, run = Lines(typer.echo), RunFollower(path)
    try:
        for row in run.rows(FOLLOW_SECONDS, time.sleep):
            try:
                lines.on_line(json.dumps(row))
            except MALFORMED:
                typer.echo(f"warning: a line that this afdctl cannot read: {row['event']}", err=True)
    except BrokenPipeError:
        raise broken_pipe_error() from None
    with suppress(AfdctlError):  # of a journal that is damaged elsewhere, the lines above say so
        for words in lost_rows(Run(path)):
            typer.echo(f"warning: {words}", err=True)
    if run.damaged:
        typer.echo(f"warning: {path}/{JOURNAL}: {run.damaged} damaged lines were left out", err=True)
