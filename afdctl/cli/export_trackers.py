"""`afdctl export --to TOOL`: the curves of runs for TensorBoard, wandb, trackio or mlflow."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl import registry
from afdctl.cli.options import check_names_differ
from afdctl.cli.output_path import ExportOptions
from afdctl.errors import AfdctlError, NotFoundError, RecipeError
from afdctl.formatting import did_you_mean, one_line_error

if TYPE_CHECKING:
    from afdctl.export.trackers.points import TrackerWriter
    from afdctl.journal import Row
    from afdctl.runs.record import Record
    from afdctl.runs.run import Run

FOLLOW_SECONDS = 1.0


def export_to(options: ExportOptions, tool: str) -> None:
    """Write each run's journal to a tool, and print where it is; with `follow` until no process writes the run."""
    check_tool(tool)
    check_names_differ(run.name for run in options.runs)
    if options.follow and len(options.runs) > 1:
        raise RecipeError(f"--follow: follows one run, here are {len(options.runs)}; name one")
    folder = options.out.path if options.out else Path(tool)
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"--out {folder}: is a file, not a folder; name a folder")
    for run in options.runs:
        place = export_run(tool, folder, run, follow=options.follow)
        if options.json:
            typer.echo(json.dumps({"schema": "afdctl/1", "run": run.name, "tool": tool, "place": place}))
        else:
            typer.echo(place)


def check_tool(tool: str) -> None:
    """Raise RecipeError for an unknown tool, AfdctlError with the pip command for a missing library."""
    from afdctl.export.trackers import TOOLS

    if tool not in TOOLS:
        raise RecipeError(f"--to {tool}: no such tool ({did_you_mean(tool, TOOLS)})")
    if find_spec(TOOLS[tool].needs) is None:
        raise AfdctlError(f"--to {tool}: needs {TOOLS[tool].needs}; install with `{TOOLS[tool].install}`")


def export_run(tool: str, folder: Path, run: "Run", *, follow: bool) -> str:
    """Write one run; return where the tool has it."""
    from afdctl.export.trackers import TOOLS
    from afdctl.export.trackers.points import flatten
    from afdctl.runs.record import Record

    record = Record.of(run)
    if record.outline is None:
        raise NotFoundError(f"{run.path}: has no journal; its training has not started, or it was trained elsewhere")
    config = flatten(record.recipe.model_dump(mode="json", exclude_none=True)) if record.recipe else {}
    try:
        # a tool's own messages are not the result
        with redirect_stdout(sys.stderr):
            return write_run(registry.load({tool: TOOLS[tool].place}, tool)(folder, run.name, config), record, follow)
    except (AfdctlError, OSError):
        raise
    except Exception as error:
        raise AfdctlError(f"--to {tool}: fails: {one_line_error(error)}") from error


def write_run(writer: "TrackerWriter", record: "Record", follow: bool) -> str:
    """Write the rows of a run; return where the tool has it."""
    from afdctl.export.trackers.points import PointMaker

    points = PointMaker()
    try:
        for row in rows_of(record, writer, follow=follow):
            if row["event"] == "resume":
                writer.restart(row["step"])
            if point := points.point(row):
                writer.write(point)
    finally:
        place = writer.close()
    return place


def rows_of(record: "Record", writer: "TrackerWriter", *, follow: bool) -> "Iterator[Row]":
    """Yield the rows that count, or with `follow` all rows until no process writes the run."""
    if not follow:
        assert record.outline is not None
        yield from record.outline.read()
        return
    from afdctl.tui.state.follower import RunFollower

    def wait(seconds: float) -> None:
        writer.flush()
        time.sleep(seconds)

    yield from RunFollower(record.run.path).rows(FOLLOW_SECONDS, wait)
