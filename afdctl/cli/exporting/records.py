"""What the runs of an export hold."""

from typing import TYPE_CHECKING

import typer

from afdctl.cli.exporting.wanted import Wanted
from afdctl.errors import AfdctlError, NotFoundError

if TYPE_CHECKING:
    from afdctl.store.record import Record


def records_of(wanted: Wanted) -> "list[Record]":
    """Read the runs, and report what their journals have lost.

    Where none was named, one that cannot be read is reported and left out.
    """
    from afdctl.store.record import Record

    records = []
    for run in wanted.runs:
        try:
            records.append(Record.of(run))
        except (AfdctlError, OSError) as error:
            if wanted.named:
                raise
            typer.echo(f"warning: {run.name} left out: {error}", err=True)
    if not records:
        raise NotFoundError("no run here can be read; name the folder of others with --runs")
    for record in records:
        for gap in record.lost:
            typer.echo(f"warning: {gap}", err=True)
    return records
