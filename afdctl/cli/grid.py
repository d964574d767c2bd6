"""`afdctl train --grid`: the trainings of a grid, those that are missing, one after the other.

Each is a run named by its recipe, so the folder of runs is the only state: the same command again skips what is done
and resumes what was interrupted, and several processes that share a folder divide the trainings.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl.cli.process import exit_on_interrupt
from afdctl.cli.train_options import TrainOptions
from afdctl.errors import AfdctlError, BusyError, StoppedError

if TYPE_CHECKING:
    from afdctl.cluster.cells import CellRun, Outcome
    from afdctl.recipe.grid import Grid


class GridError(AfdctlError):
    """Some trainings are not finished; the exit code is that of the first one that failed."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class GridReport:
    """Reports trainings as they end: paths to stdout, or with `as_json` one object at the end, words to stderr."""

    def __init__(self, total: int, *, as_json: bool) -> None:
        self.total, self.as_json = total, as_json
        self.outcomes: dict[CellRun, Outcome] = {}

    def begin(self, cell: "CellRun", number: int) -> None:
        typer.echo(f"training {number} of {self.total}: {cell.run.path} ({cell.cell})", err=True)

    def end(self, cell: "CellRun", outcome: "Outcome") -> None:
        """Report how a cell ended; called again for one that was busy before."""
        self.outcomes[cell] = outcome
        if outcome.exit_code:
            typer.echo(f"{cell.run.path} ({cell.cell}): {outcome.word}: {outcome.message}", err=True)
            return
        if not outcome.trained:
            typer.echo(f"{cell.run.path} ({cell.cell}): finished before", err=True)
        if not self.as_json:
            typer.echo(cell.run.path)

    @property
    def progress(self) -> str:
        finished = sum(not outcome.exit_code for outcome in self.outcomes.values())
        return f"{finished} of {self.total} trainings are finished"

    def close(self) -> None:
        """Print the object of --json. Error: GridError, which names the cells that are not finished."""
        from afdctl.cluster.cells import BUSY, first_failure

        if self.as_json:
            typer.echo(json.dumps({"schema": "afdctl/1", "cells": [cell.status() for cell in self.outcomes]}))
        unfinished: dict[str, list[str]] = {}
        for cell, outcome in self.outcomes.items():
            if outcome.exit_code:
                unfinished.setdefault(outcome.word, []).append(cell.run.name)
        if unfinished:
            where = {BUSY: "busy in another process"}
            lines = [f"{where.get(word, word)}: {', '.join(names)}" for word, names in unfinished.items()]
            raise GridError("\n".join([self.progress, *lines]), first_failure(list(self.outcomes.values())))
        typer.echo(self.progress, err=True)


def train(options: TrainOptions) -> None:
    """Train the cells of `--grid`, or list them with `--dry-run`."""
    from afdctl.cluster.cells import CellRun

    recipe = options.recipe or ""
    cells = [CellRun.of(cell, options.runs, recipe) for cell in make_grid(options).cells()]
    if options.dry_run:
        show(cells, as_json=options.json)
    else:
        train_in_turn(cells, options)


def make_grid(options: TrainOptions) -> "Grid":
    """Return the grid of the options. Error: RecipeError."""
    from afdctl.recipe.grid import Grid, parse

    # seeds outside, so that an unfinished grid is a finished one of fewer seeds
    seeds = [f"seed={options.seeds}"] if options.seeds else []
    axes = parse([*seeds, *(options.grid or [])])
    return Grid(options.recipe or "", options.overrides or [], axes)


def train_in_turn(cells: Sequence["CellRun"], options: TrainOptions) -> None:
    """Make every cell's run exist; those that another process trains are tried again at the end."""
    with exit_on_interrupt():
        from afdctl import interrupts
        from afdctl.cli.progress import training_progress
        from afdctl.cluster.training import make_exist

    report = GridReport(len(cells), as_json=options.json)
    typer.echo(f"{len(cells)} trainings in {options.runs}; `afdctl watch {options.runs}` shows them", err=True)
    with interrupts.raise_on_signal("between two trainings"):
        try:
            for number, cell in [*enumerate(cells, 1), *enumerate(cells, 1)]:
                before = report.outcomes.get(cell)
                if before and before.exit_code != BusyError.exit_code:
                    continue
                report.begin(cell, number)
                with training_progress(cell.run, as_json=False) as on_line:
                    outcome = make_exist(cell, device=options.device, data_dir=options.data_dir, on_line=on_line)
                report.end(cell, outcome)
        except StoppedError as error:
            # what was closed, such as stdout, gets no message
            if not str(error):
                raise
            reason = str(error).partition(";")[0]
            raise GridError(f"{reason}; {report.progress}; {interrupts.RESUME_HINT}", error.exit_code) from None
    report.close()


def show(cells: Sequence["CellRun"], *, as_json: bool) -> None:
    """Print the cells and their states."""
    rows = [cell.status() for cell in cells]
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", "cells": rows}))
        return
    from rich.table import Table

    from afdctl.cli.console import TableConsole

    keys = [key for key, _ in cells[0].cell.settings]
    table = Table()
    for heading in (*keys, "run", "state"):
        table.add_column(heading, overflow="fold")
    table.add_column("epoch", justify="right")
    for row in rows:
        epoch = "" if row["epoch"] is None else f"{row['epoch']}/{row['epochs']}"
        table.add_row(*row["settings"].values(), row["name"], row["state"], epoch)
    TableConsole().print(table)
    done = sum(row["done"] for row in rows)
    typer.echo(f"{len(rows)} trainings in {Path(rows[0]['path']).parent}, {len(rows) - done} of them to do", err=True)
