"""`afdctl runs compare`, `rm`, `rebuild` and `import`: what is done with runs that the user names."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from afdctl import paths
from afdctl.cli import options
from afdctl.cli.options import SET
from afdctl.cli.process import exit_on_interrupt
from afdctl.cli.train import DATA_DIR, NAME, RUNS
from afdctl.errors import RecipeError
from afdctl.formatting import format_bytes, format_epsilon, format_value

if TYPE_CHECKING:
    from afdctl.runs.record import Record

ALL = typer.Option("--all", help="Also show what is equal in all runs.")
YES = typer.Option("--yes", "-y", help="Do not ask.")
CHECKPOINT = typer.Argument(
    parser=paths.path, metavar="CHECKPOINT", help="A .pt file of the authors' afd_train.py or adv_train.py."
)
RECIPE = typer.Option(
    metavar="RECIPE",
    help="The recipe that describes its network, such as mnist_wgan_official. model.norm must be the normalization of "
    "its features (l2 for resnet18norm, none for resnet18), which cannot be read from the weights.",
)
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

    # find_runs also takes damaged runs, which cannot be compared
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
        _print_differences([run.name for run in runs], parts)


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
    if run.probe is not None:
        values[f"probe ({run.split}, no AutoAttack)"] = run.probe
    for curve in record.curves.values():
        accuracies = {epsilon: accuracy for epsilon, accuracy in curve.by_epsilon().items() if epsilon}
        values |= {f"{curve.title} {curve.norm} {epsilon:.4g}": accuracy for epsilon, accuracy in accuracies.items()}
        # areas over different grids cannot be compared, so each grid has its row
        values[f"{curve.title} AUC over {' '.join(map(format_epsilon, curve.epsilons))}"] = curve.auc
        values[f"{curve.title} images"] = curve.n
    for name, row in record.analyses.items():
        metrics = flattened(row["metrics"])
        values |= {f"{name} {key}": value for key, value in metrics.items() if isinstance(value, int | float)}
    if run.warnings:
        values["warnings"] = "; ".join(run.warnings)
    return values


def _print_differences(names: list[str], parts: Mapping[str, dict[str, list[Any]]]) -> None:
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
    # names of results contain spaces; those of recipe values do not, and stay exact
    if isinstance(value, float) and " " in key:
        return f"{value:.4g}"
    return format_value(value)


def rm(names: options.NamedRuns, yes: Annotated[bool, YES] = False, folder: options.Runs = Path("runs")) -> None:
    """Remove runs with all their files, and print their paths. Asks first; without a terminal, --yes is required."""
    from afdctl.runs import folders
    from afdctl.runs.files import size_on_disk

    runs = options.find_runs(names, folder)
    # all are checked first: if one is in use, none is removed
    for run in runs:
        folders.check_removable(run.path)
    size = format_bytes(sum(size_on_disk(run.path) for run in runs))
    if not yes:
        _confirm(f"{', '.join(run.name for run in runs)} ({size})")
    for run in runs:
        folders.remove(run.path)
        typer.echo(run.path)
    typer.echo(f"{size} freed", err=True)


def _confirm(runs: str) -> None:
    """Ask before removing; exit if the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RecipeError(f"rm: would remove {runs}; there is no terminal to ask on, so add --yes")
    if not typer.confirm(f"Remove {runs}?", err=True):
        typer.echo("nothing was removed", err=True)
        raise typer.Exit(1)


def rebuild(names: options.NamedRuns, folder: options.Runs = Path("runs")) -> None:
    """Rebuild results.h5 from the journal and the shards, and print its path."""
    runs = options.find_runs(names, folder)

    from afdctl.runs import results_file, shards
    from afdctl.runs.record import Record

    for run in runs:
        record = Record.of(run)
        for gap in record.lost:
            typer.echo(f"warning: {gap}", err=True)
        path = results_file.build(run)
        for shard in record.shards:
            # the rest of results.h5 is complete, so this is a warning
            if not shards.intact(run, shard):
                typer.echo(
                    f"warning: {run.shards / shard}: damaged or missing, so results.h5 lacks its results; run the same "
                    "sweep or analysis again",
                    err=True,
                )
        typer.echo(path)


def import_(
    checkpoint: Annotated[Path, CHECKPOINT],
    recipe: Annotated[str, RECIPE],
    overrides: Annotated[list[str] | None, SET] = None,
    name: Annotated[str | None, NAME] = None,
    runs: Annotated[Path, RUNS] = Path("runs"),
    data_dir: Annotated[Path | None, DATA_DIR] = None,
) -> None:
    """Import a checkpoint of the authors' AFD code as a run, and print the run's path."""
    from afdctl import recipe as recipes

    # a mistake is reported before torch is imported, which takes seconds
    resolved = recipes.load(recipe, overrides or [])

    with exit_on_interrupt():
        from afdctl.training.import_checkpoint import import_checkpoint

    stem = Path(recipe).stem
    run, warnings = import_checkpoint(checkpoint, resolved, stem=stem, runs=runs, name=name, data_dir=data_dir)
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(run.path)
