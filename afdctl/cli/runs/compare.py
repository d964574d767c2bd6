"""`afdctl runs compare`: in what runs differ, beside how they did."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdctl.cli.runs import options
from afdctl.errors import RecipeError
from afdctl.formatting import format_epsilon

if TYPE_CHECKING:
    from afdctl.runs.record import Record

ALL = typer.Option("--all", help="Show what is equal in all runs too.")
ENVIRONMENT = ("afdctl", "commit", "torch", "device", "device_name", "threads", "data_digest")


def compare(
    names: options.Names,
    everything: Annotated[bool, ALL] = False,
    folder: options.Folder = Path("runs"),
    as_json: options.Json = False,
) -> None:
    """Compare runs: the values of their recipes that differ, and the results that differ; equal ones are left out."""
    from afdctl.runs.diff import aligned, differing_keys
    from afdctl.runs.record import Record
    from afdctl.runs.run import Run

    runs = [Run.find(str(run.path), folder) for run in options.at(names, folder)]
    if len(runs) < 2:
        raise RecipeError("compare: name at least two runs; `afdctl runs show` shows one")
    records = [Record.of(run) for run in runs]
    select = aligned if everything else differing_keys
    parts = {
        "recipe": select([one.recipe.model_dump(mode="json") if one.recipe else {} for one in records]),
        "environment": select([{key: one.run.provenance.get(key) for key in ENVIRONMENT} for one in records]),
        "results": select([results(one) for one in records]),
    }
    if as_json:
        shown = {"schema": "afdctl/1", "runs": [{"name": run.name, "path": str(run.path)} for run in runs], **parts}
        typer.echo(json.dumps(shown))
    else:
        _print([run.name for run in runs], parts)


def results(record: "Record") -> dict[str, Any]:
    """A run's results by name: accuracies, areas, and the numbers of its analyses."""
    from afdctl.evaluation.curves import robustness_curves
    from afdctl.runs.diff import flattened
    from afdctl.runs.summary import RunSummary

    run = RunSummary.of(record)
    found: dict[str, Any] = {"state": run.state, "epoch": run.epoch, f"clean ({run.split})": run.clean}
    if run.pgd_attack:
        found[f"{run.pgd_attack} ({run.split}, no AutoAttack)"] = run.pgd
    if run.square is not None:
        found[f"then Square ({run.split}, no AutoAttack)"] = run.square
    for one in robustness_curves(record):
        found |= {f"{one.title} {one.norm} {epsilon:.4g}": value for epsilon, value in one.at().items() if epsilon}
        # areas over different grids do not compare, and get a row each
        found[f"{one.title} AUC over {' '.join(map(format_epsilon, one.epsilons))}"] = one.auc
        found[f"{one.title} images"] = one.n
    for name, row in record.analyses.items():
        figures = flattened(row["figures"])
        found |= {f"{name} {key}": value for key, value in figures.items() if isinstance(value, int | float)}
    if run.warnings:
        found["warnings"] = "; ".join(run.warnings)
    return found


def _print(names: list[str], parts: Mapping[str, dict[str, list[Any]]]) -> None:
    from rich.table import Table

    from afdctl.cli.evaluation_tables import TableConsole

    console = TableConsole()
    for part, rows in parts.items():
        if not rows:
            console.print(f"{part}: equal")
            continue
        table = Table(title=part, title_justify="left")
        table.add_column("", no_wrap=True)
        for name in names:
            table.add_column(name, justify="right" if part == "results" else "left", overflow="fold")
        for key, values in rows.items():
            table.add_row(key, *(_cell(key, value) for value in values))
        console.print(table)


def _cell(key: str, value: Any) -> str:
    """Fractions of results as they are in tables of accuracies: with three digits."""
    if isinstance(value, float) and " " in key:
        return f"{value:.4g}"
    return options.value_in_words(value)
