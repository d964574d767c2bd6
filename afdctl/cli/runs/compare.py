"""`afdctl runs compare`: differences between runs, and their results side by side."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from afdctl.cli import options
from afdctl.errors import RecipeError
from afdctl.formatting import format_epsilon, format_value

if TYPE_CHECKING:
    from afdctl.runs.record import Record

ALL = typer.Option("--all", help="Also show what is equal in all runs.")
ENVIRONMENT: Final = ("afdctl", "commit", "torch", "device", "device_name", "threads", "data_digest")


def compare(
    names: options.NamedRuns,
    everything: Annotated[bool, ALL] = False,
    folder: options.Runs = Path("runs"),
    as_json: options.Json = False,
) -> None:
    """Compare runs: the values of their recipes, their environments and their results that differ."""
    from afdctl.runs.provenance import aligned, differing_keys
    from afdctl.runs.record import Record
    from afdctl.runs.run import Run

    runs = [Run.find(str(run.path), folder) for run in options.find_runs(names, folder)]
    if len(runs) < 2:
        raise RecipeError("compare: name at least two runs; `afdctl runs show` shows one")
    records = [Record.of(run) for run in runs]
    select = aligned if everything else differing_keys
    parts = {
        "recipe": select([record.recipe.model_dump(mode="json") if record.recipe else {} for record in records]),
        "environment": select([{key: run.provenance.get(key) for key in ENVIRONMENT} for run in runs]),
        "results": select([results(record) for record in records]),
    }
    if as_json:
        listed = [{"name": run.name, "path": str(run.path)} for run in runs]
        typer.echo(json.dumps({"schema": "afdctl/1", "runs": listed, **parts}))
    else:
        _print([run.name for run in runs], parts)


def results(record: "Record") -> dict[str, Any]:
    """Return a run's results by name: accuracies, areas under curves, and the metrics of its analyses."""
    from afdctl.runs.provenance import flattened
    from afdctl.runs.summary import RunSummary

    run = RunSummary.of(record)
    values: dict[str, Any] = {"state": run.state, "epoch": run.epoch, f"clean ({run.split})": run.clean}
    if run.pgd_attack:
        values[f"{run.pgd_attack} ({run.split}, no AutoAttack)"] = run.pgd
    if run.square is not None:
        values[f"then Square ({run.split}, no AutoAttack)"] = run.square
    for curve in record.curves.values():
        accuracies = {epsilon: accuracy for epsilon, accuracy in curve.by_epsilon().items() if epsilon}
        values |= {f"{curve.title} {curve.norm} {epsilon:.4g}": accuracy for epsilon, accuracy in accuracies.items()}
        # areas over different grids cannot be compared, so each grid has its row
        values[f"{curve.title} AUC over {' '.join(map(format_epsilon, curve.epsilons))}"] = curve.auc
        values[f"{curve.title} images"] = curve.n
        values[f"{curve.title} subset"] = curve.subset
    for name, row in record.analyses.items():
        metrics = flattened(row["metrics"])
        values |= {f"{name} {key}": value for key, value in metrics.items() if isinstance(value, int | float)}
    if run.warnings:
        values["warnings"] = "; ".join(run.warnings)
    return values


def _print(names: list[str], parts: Mapping[str, dict[str, list[Any]]]) -> None:
    from rich.table import Table

    from afdctl.cli.console import TableConsole

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
    """Format a value; those of results have four digits."""
    if isinstance(value, float) and " " in key:
        return f"{value:.4g}"
    return format_value(value)
