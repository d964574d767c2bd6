"""`afdctl runs rebuild`: results.h5 again, from the journal and the shards."""

from pathlib import Path

import typer

from afdctl.cli.runs import options


def rebuild(names: options.Names, folder: options.Folder = Path("runs")) -> None:
    """Make results.h5 again from the journal and the shards, and print its path; what it had lost is there again."""
    runs = options.at(names, folder)

    from afdctl.runs import results_file, shards
    from afdctl.runs.record import Record

    for run in runs:
        record = Record.of(run)
        for gap in record.lost:
            typer.echo(f"warning: {gap}", err=True)
        path = results_file.build(run)
        for name in record.shards:
            if not shards.intact(run, name):
                typer.echo(
                    f"warning: {run.shards / name}: damaged or missing, so its figures are not in results.h5; the "
                    "sweep or analysis that made it makes it again",
                    err=True,
                )
        typer.echo(path)
