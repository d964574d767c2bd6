"""What the commands of `afdctl runs` share: arguments, and how figures are written for people."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdctl import paths
from afdctl.cli.arguments import lines_of_stdin

if TYPE_CHECKING:
    from afdctl.runs.run import Run

Names = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Runs by path or name, `latest`, or `-` for paths on stdin."),
]
Folder = Annotated[Path, typer.Option("--runs", parser=paths.path, help="The folder that holds the runs.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")]


def at(names: list[str], folder: Path) -> "list[Run]":
    """The named runs, each once, whatever state they are in."""
    from afdctl.runs.run import Run

    specs = [spec for name in names for spec in (lines_of_stdin() if name == "-" else [name])]
    found = [Run.at(spec, folder) for spec in specs]
    return list({run.path.absolute(): run for run in found}.values())


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def minute(time: str | None) -> str:
    """`2026-11-24 09:17` of an ISO time."""
    return "" if time is None else time[:16].replace("T", " ")


def value_in_words(value: object) -> str:
    """A value of a recipe or a result in a table's cell."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
