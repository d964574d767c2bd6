"""The results of analyses: tables and plots for people, one JSON object for pipelines."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from afdctl.cli.accuracies import Stdout
from afdctl.cli.analysing.of_runs import OfRuns
from afdctl.cli.analysing.tables import TABLES
from afdctl.cli.place import Place, runs_in_words

if TYPE_CHECKING:
    from afdctl.store.run import Run

Row = dict[str, Any]


def show(found: "Sequence[tuple[Run, dict[str, Row]]]", as_json: bool, out: Place | None) -> None:
    """Print each analysis of all runs, and where its picture lies; `found` holds each run with its rows by name."""
    runs, names = {run.name: run for run, _ in found}, list(found[0][1])
    console = Stdout()
    drawn = pictures(list(runs.values()), names, out) if out or (console.is_terminal and not as_json) else {}
    if as_json:
        rows = [shown(run.name, row) for run, rows in found for row in rows.values()]
        paths = {"pictures": {name: str(path) for name, path in drawn.items()}} if drawn else {}
        typer.echo(json.dumps({"schema": "afdctl/1", "analyses": rows, **paths}))
        return
    for name in names:
        print_one(console, OfRuns(name, {run.name: rows[name] for run, rows in found}, runs))
        if name in drawn:
            console.print(f"picture: {drawn[name]}", soft_wrap=True)
        console.print()


def print_one(console: Stdout, one: OfRuns) -> None:
    """Its tables, and on a terminal its plots."""
    for part in TABLES[one.name](one):
        if isinstance(part, str):
            console.print(part, soft_wrap=not console.is_terminal)
        else:
            console.print_fitting(*part)
    for run, row in one.rows.items():
        for line in row["warnings"]:
            console.print(f"Warning on {run}: {line}.", soft_wrap=True)
    if console.is_terminal:
        from afdctl.cli.analysing.plots import plots

        for plot in plots(one, console.width):
            console.file.write(plot)


def pictures(runs: "Sequence[Run]", names: Sequence[str], out: Place | None) -> dict[str, Path]:
    """Draw each analysis of the runs: to `out`, with the analysis in its name where there are several, or in a run.

    Without `out` they go to the folder figures/ of the first run.
    """
    from afdctl.export.figures.catalogue import FIGURES
    from afdctl.export.figures.page import save
    from afdctl.store.record import Record

    records = [Record.of(run) for run in runs]
    paths = {}
    for name in names:
        paths[name] = picture(runs, name, out, alone=len(names) == 1)
        save(FIGURES[name].of(records), paths[name])
    return paths


def picture(runs: "Sequence[Run]", name: str, out: Place | None, *, alone: bool) -> Path:
    """Where the picture of one analysis goes; the only one has the very name of `out`."""
    several = f"-of-{len(runs)}-runs" if len(runs) > 1 else ""
    if out is None:
        return Place(runs[0].path / "figures", slash=True).file(f"{name}{several}.svg")
    if out.is_folder:
        return out.file(f"{runs_in_words([run.name for run in runs])}-{name}.svg")
    return out.file("") if alone else replace(out, path=out.path.with_stem(f"{out.path.stem}-{name}")).file("")


def shown(run: str, row: Row) -> Row:
    """What the command line prints of an analysis."""
    about = ("name", "checkpoint", "n", "seed", "seconds", "warnings")
    return {"run": run, **{key: row[key] for key in about}, **row["figures"]}
