"""The results of analyses: tables and plots for people, one JSON object for pipelines."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from afdctl.cli.accuracies import Stdout
from afdctl.cli.analysing.of_runs import OfRuns
from afdctl.cli.analysing.tables import TABLES

if TYPE_CHECKING:
    from afdctl.store.run import Run

Row = dict[str, Any]


def show(found: "Sequence[tuple[Run, dict[str, Row]]]", as_json: bool, out: Path | None) -> None:
    """Print each analysis of all runs; `found` holds each run with its rows by name."""
    if as_json:
        rows = [shown(run.name, row) for run, rows in found for row in rows.values()]
        typer.echo(json.dumps({"schema": "afdctl/1", "analyses": rows}))
        return
    console = Stdout()
    runs = {run.name: run for run, _ in found}
    for name in found[0][1]:
        one = OfRuns(name, {run.name: rows[name] for run, rows in found}, runs)
        for part in TABLES[name](one):
            if isinstance(part, str):
                console.print(part, soft_wrap=True)
            else:
                console.print_fitting(*part)
        if console.is_terminal:
            from afdctl.cli.analysing.plots import plots

            for picture in plots(one, console.width):
                console.file.write(picture)
        console.print()


def shown(run: str, row: Row) -> Row:
    """What the command line prints of an analysis."""
    about = ("name", "checkpoint", "n", "seed", "seconds")
    return {"run": run, **{key: row[key] for key in about}, **row["figures"]}
