"""`afdctl sweep`: attacks x epsilons of a suite, on one or many models."""

from pathlib import Path
from typing import Annotated

import typer

from afdctl.cli import options
from afdctl.cli.arguments import names_of
from afdctl.cli.evaluation import EvaluateOptions, evaluate

ATTACKS = typer.Option(metavar="NAME,...", help="Only these attacks; may name attacks that the suite lacks.")
EPSILONS = typer.Option(metavar="GRID", help="This grid instead: 0,0.1,8/255 or 0:0.5:0.1.")
SUITE = typer.Option(help="The attack suite: strong, paper-A2, paper-notebook, or a file.")
SET = typer.Option("--set", metavar="KEY=VALUE", help="Set a parameter of every attack, such as steps=100; repeatable.")
MATRIX = typer.Option("--matrix", help="Attack every run with images made against each of the others.")


def sweep(
    runs: options.RunNames = None,
    attacks: Annotated[str | None, ATTACKS] = None,
    epsilons: Annotated[str | None, EPSILONS] = None,
    suite: Annotated[str, SUITE] = "strong",
    overrides: Annotated[list[str] | None, SET] = None,
    limit: options.Limit = None,
    source: options.From = None,
    matrix: Annotated[bool, MATRIX] = False,
    checkpoint: options.Checkpoint = "best",
    seed: options.Seed = 0,
    batch_size: options.BatchSize = None,
    precision: options.Precision = "float32",
    save: options.Save = False,
    folder: options.Runs = Path("runs"),
    device: options.Device = "auto",
    data_dir: options.DataDir = None,
    model: options.Model = None,
    weights: options.Weights = None,
    dataset: options.Dataset = None,
    mean: options.Mean = None,
    std: options.Std = None,
    image_size: options.ImageSize = None,
    json: options.Json = False,
) -> None:
    """Run a suite's attacks over their epsilons, and print accuracies and the areas under their curves.

    What is done already is skipped, so the same command goes on after Ctrl-C or a kill. Without RUN: the newest one.
    """
    from afdctl.suites import epsilon_grid, load

    wanted = EvaluateOptions(
        runs or [],
        source or [],
        matrix,
        folder,
        checkpoint,
        limit,
        seed,
        batch_size,
        precision,
        save,
        device,
        data_dir,
        json,
        model,
        weights,
        dataset,
        mean,
        std,
        image_size,
    )
    names = names_of(attacks)
    chosen = None if epsilons is None else epsilon_grid.parse(epsilons)
    evaluate(
        wanted,
        lambda dataset: load.load(suite, dataset, attacks=names, epsilons=chosen, overrides=overrides or []),
    )
