"""`afdctl runs rm`, `rebuild` and `import`: remove runs, rebuild results.h5, import checkpoints."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from afdctl import paths
from afdctl.cli import options
from afdctl.cli.options import SET
from afdctl.cli.process import exit_on_interrupt
from afdctl.cli.train_options import DATA_DIR, NAME, RUNS
from afdctl.errors import RecipeError
from afdctl.formatting import format_bytes

YES = typer.Option("--yes", "-y", help="Do not ask.")
CHECKPOINT = typer.Argument(
    parser=paths.path, metavar="CHECKPOINT", help="A .pt file of the authors' afd_train.py or adv_train.py."
)
RECIPE = typer.Option(
    metavar="RECIPE",
    help="The recipe that describes its network, such as mnist_wgan_official. model.norm must be the normalization of "
    "its features (l2 for resnet18norm, none for resnet18), which cannot be read from the weights.",
)


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
        path = results_file.build(run, anew=True)
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
