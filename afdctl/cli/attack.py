"""`afdctl attack`: one attack at one epsilon."""

from pathlib import Path
from typing import Annotated

import typer

from afdctl.cli import options
from afdctl.cli.evaluation import EvaluateOptions, evaluate

ATTACK = typer.Option(help="fgsm, pgd_linf, pgd_l2, pgd_l1, mim, ddn, deepfool, cw, aa, apgd_ce, square, ...")
EPSILON = typer.Option(help="The radius of the ball; images are in [0, 1], and 8/255 is a legal value.")
SET = typer.Option("--set", metavar="KEY=VALUE", help="Set a parameter of the attack, such as steps=100; repeatable.")


def attack(
    runs: options.RunNames = None,
    attack: Annotated[str, ATTACK] = "aa",
    epsilon: Annotated[str | None, EPSILON] = None,
    overrides: Annotated[list[str] | None, SET] = None,
    limit: options.Limit = None,
    source: options.From = None,
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
    """Attack models with one attack, AutoAttack by default, at one epsilon, and print their accuracy.

    Parameters are those of the suite `strong` unless --set changes them. Without RUN: the newest one.
    """
    from afdctl.errors import RecipeError
    from afdctl.suites import epsilon_grid, load

    if epsilon is None:
        raise RecipeError("--epsilon: missing; name the radius, such as 0.3 or 8/255")
    radius = epsilon_grid.value(epsilon)
    if radius == 0:
        raise RecipeError("--epsilon 0: nothing to attack; clean accuracy is printed with every other epsilon")
    wanted = EvaluateOptions(
        runs or [],
        source or [],
        False,
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
    evaluate(
        wanted,
        lambda dataset: load.load(
            load.DEFAULT,
            dataset,
            attacks=[attack],
            epsilons=(0.0, radius),
            overrides=overrides or [],
            options=("--attack", "--epsilon"),
        ),
    )
