"""`afdctl train --grid`: the trainings of a grid, those that are missing, one after the other.

Each is a run named by its recipe, so the folder of runs is the only state: the same command again skips what is done
and resumes what was interrupted, and several processes that share a folder divide the trainings.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl.cli.grid_report import GridReport, stopped
from afdctl.cli.process import exit_on_interrupt
from afdctl.cli.train_options import TrainOptions
from afdctl.errors import StoppedError

if TYPE_CHECKING:
    from afdctl.cluster.cells import CellRun


def train(options: TrainOptions) -> None:
    """Train the cells of `--grid`, or list them with `--dry-run`."""
    from afdctl.cluster.cells import CellRun
    from afdctl.recipe.grid import Grid, parse

    recipe = options.recipe or ""
    # seeds outside, so that an unfinished grid is a finished one of fewer seeds
    axes = parse([*([f"seed={options.seeds}"] if options.seeds else []), *(options.grid or [])])
    if options.search:
        from afdctl.cluster.search import Search

        # every seed of a proposal is trained, and their mean counts
        grid = Grid(recipe, options.overrides or [], [axis for axis in axes if axis.key != "seed" or not options.seeds])
        trials = options.trials or 0
        search = Search(grid, options.seed_numbers, options.runs, trials)
        if len(search.known) < trials:
            ensure_data([CellRun.of(grid.cell(search.first), options.runs, recipe)], options)
        seeds = max(1, len(options.seed_numbers))
        if options.ray:
            from afdctl.cli.grid_on_ray import train_on_ray

            train_on_ray(lambda slots: search.batches(max(1, slots // seeds)), trials * seeds, options)
        else:
            train_in_turn(chain.from_iterable(search.batches()), trials * seeds, options)
        return
    cells = [CellRun.of(cell, options.runs, recipe) for cell in Grid(recipe, options.overrides or [], axes).cells()]
    if options.dry_run:
        show(cells, as_json=options.json)
        return
    ensure_data(cells, options)
    if options.ray:
        from afdctl.cli.grid_on_ray import train_on_ray

        train_on_ray(lambda slots: [cells], len(cells), options)
    else:
        train_in_turn(cells, len(cells), options)


def ensure_data(cells: Iterable["CellRun"], options: TrainOptions) -> None:
    """Raise DataMissingError for a data set that no cell could begin with; each would end with it."""
    with exit_on_interrupt():
        from afdctl import interrupts
        from afdctl.training.run_data import ensure_dataset

    # a run that exists knows where its data is
    tables = {repr(cell.cell.recipe.data): cell.cell.recipe.data for cell in cells if not cell.run.exists}
    with interrupts.raise_on_signal():
        for table in tables.values():
            ensure_dataset(table, options.data_dir)


def train_in_turn(cells: Iterable["CellRun"], total: int, options: TrainOptions) -> None:
    """Make every cell's run exist; those that another process trains are tried again at the end."""
    with exit_on_interrupt():
        from afdctl import interrupts
        from afdctl.cli.progress import training_progress
        from afdctl.cluster.cells import end_of
        from afdctl.cluster.training import make_exist

    report = GridReport(total, as_json=options.json)
    typer.echo(report.opening(options.runs), err=True)
    with interrupts.raise_on_signal("between two trainings"):
        try:
            for cell in chain(cells, report.busy()):
                if not end_of(cell.run):
                    report.begin(cell)
                with training_progress(cell.run, as_json=False) as on_line:
                    outcome = make_exist(cell, device=options.device, data_dir=options.data_dir, on_line=on_line)
                report.end(cell, outcome)
        except StoppedError as error:
            raise stopped(error, report) from None
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
