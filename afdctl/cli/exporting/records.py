"""The runs that an export reads: those that were named, or all in the folder that fit."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl.cli.exporting.wanted import Wanted
from afdctl.errors import AfdctlError

if TYPE_CHECKING:
    from afdctl.store.record import Record


def named(wanted: Wanted) -> "list[Record]":
    """The runs of the command line, each once."""
    from afdctl.store.record import Record

    return [Record.of(run) for run in {run.path.resolve(): run for run in wanted.runs}.values()]


def under(folder: Path, fits: "Callable[[Record], bool]") -> "list[Record]":
    """All runs in the folder that fit, by name; one that cannot be read is named on stderr and left out."""
    from afdctl.store.record import Record
    from afdctl.store.run import Run

    found = []
    for run in sorted(Run.all(folder), key=lambda run: run.name):
        try:
            record = Record.of(Run.find(str(run.path), folder))
        except AfdctlError as error:
            typer.echo(f"warning: {error}; left out", err=True)
        else:
            found += [record] if fits(record) else []
    return found
