"""`afdctl runs import`: models that others trained."""

from pathlib import Path
from typing import Annotated

import typer

from afdctl import paths
from afdctl.cli.imports import leaving_at_once
from afdctl.cli.options import SET
from afdctl.cli.train import DATA_DIR, NAME, RUNS

CHECKPOINT = typer.Argument(
    parser=paths.path, metavar="CHECKPOINT", help="A .pt file of the authors' afd_train.py or adv_train.py."
)
RECIPE = typer.Option(
    metavar="RECIPE",
    help="The recipe that describes its network, such as mnist_wgan_official; model.norm must say how its features "
    "were normalised (l2 for resnet18norm, none for resnet18): the weights do not tell.",
)


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

    chosen = recipes.load(recipe, overrides or [])

    with leaving_at_once():
        from afdctl.training.import_checkpoint import import_checkpoint

    stem = Path(recipe).stem
    run, warnings = import_checkpoint(checkpoint, chosen, stem=stem, runs=runs, name=name, data_dir=data_dir)
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(run.path)
