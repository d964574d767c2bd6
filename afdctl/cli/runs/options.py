"""Arguments and formats that the commands of `afdctl runs` share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdctl import paths
from afdctl.cli.arguments import run_names

if TYPE_CHECKING:
    from afdctl.runs.run import Run

Names = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Runs by path or name, `latest`, or `-` for paths on stdin."),
]
Folder = Annotated[Path, typer.Option("--runs", parser=paths.path, help="The folder that holds the runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


def find_runs(names: list[str], folder: Path) -> "list[Run]":
    """Return the named runs, each once, in any condition."""
    from afdctl.runs.run import Run

    runs = [Run.at(name, folder) for name in run_names(names)]
    return list({run.path.absolute(): run for run in runs}.values())


def percent(fraction: float | None) -> str:
    """Format a fraction in percent; None is empty."""
    return "" if fraction is None else f"{100 * fraction:.1f}"


def format_minute(time: str | None) -> str:
    """Format an ISO time as `2026-11-24 09:17`; None is empty."""
    return "" if time is None else time[:16].replace("T", " ")


def format_value(value: object) -> str:
    """Format a value of a recipe or a result for a table."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
