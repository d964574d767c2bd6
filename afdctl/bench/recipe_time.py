"""Estimate the time of a whole recipe: its steps, a validation after each epoch, and the test of two checkpoints."""

from typing import Final, NamedTuple

import torch
from torch import Generator

from afdctl import data
from afdctl.data.base import ImageTensors
from afdctl.data.loader import Split
from afdctl.models.cost import CostEstimate, timed
from afdctl.recipe import Recipe
from afdctl.recipe.schema import Evaluation
from afdctl.training.cost_estimate import ImageBatch, build_network
from afdctl.training.evaluate import evaluate
from afdctl.training.schedule import Schedule

# The last checkpoint and the best one.
TESTED_CHECKPOINTS: Final = 2
# PGD steps of the evaluation that is timed.
TIMED_PGD_STEPS: Final = 2


class MeasuredStep(NamedTuple):
    """Seconds of a step at one length of the attack."""

    attack_steps: int
    seconds: float


def estimate_recipe_time(
    recipe: Recipe, images: ImageBatch, step: MeasuredStep, cost: CostEstimate
) -> dict[str, float] | None:
    """Return seconds of the whole training on this machine; None for an image folder, whose size is not known.

    A step with another attack length than the measured one is scaled by FLOP; where a schedule changes the length,
    values are means over all epochs.
    """
    about = data.base(recipe.data.dataset).about
    if about is None:
        return None
    full, rest = divmod(about.train - recipe.data.holdout, recipe.train.batch_size)
    # BatchNorm cannot train on a last batch of one image, so the sampler drops it
    steps = full + (rest > 1)
    attack_steps = Schedule(recipe, steps).mean_attack_steps()
    planned, measured = (sum(cost.flop(count).values()) for count in (attack_steps, step.attack_steps))
    step_seconds = step.seconds * planned / measured
    pass_seconds = evaluation_pass_seconds(recipe, images)
    validated = min(recipe.data.holdout, recipe.validation.limit)
    validation = pass_seconds * validated * evaluation_passes(recipe.validation)
    tested = TESTED_CHECKPOINTS * min(about.test, recipe.test.limit or about.test)
    test = pass_seconds * tested * evaluation_passes(recipe.test)
    epochs = recipe.train.epochs
    return {
        "epochs": epochs,
        "steps_per_epoch": steps,
        "attack_steps": attack_steps,
        "step_seconds": step_seconds,
        "epoch_seconds": steps * step_seconds,
        "validation_seconds": validation,
        "test_seconds": test,
        "total_seconds": epochs * (steps * step_seconds + validation) + test,
    }


def evaluation_passes(table: Evaluation) -> int:
    """Return the most forward-equivalents per image: PGD, clean and attacked images, all queries of Square."""
    return 2 * table.steps + 3 + (table.square_queries + 3 if table.square_queries else 0)


def evaluation_pass_seconds(recipe: Recipe, images: ImageBatch) -> float:
    """Return seconds of one forward-equivalent of one image, from a short evaluation after one that warms up."""
    device = images.x.device
    short = recipe.validation.model_copy(update={"steps": TIMED_PGD_STEPS, "square_queries": 0, "limit": None})
    n = min(short.batch_size, 2 * len(images.x))
    x = images.x.repeat(-(-n // len(images.x)), 1, 1, 1)[:n]
    split = Split(ImageTensors((255 * x).byte(), torch.zeros(n, dtype=torch.int64)), device)
    network, noise = build_network(recipe, images), Generator(device).manual_seed(0)

    def run() -> None:
        evaluate(network, split, short, recipe.attack, noise)

    run()
    return timed(run, device) / n / evaluation_passes(short)
