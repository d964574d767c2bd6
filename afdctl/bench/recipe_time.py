"""Estimate the time of a whole recipe: its steps, a validation after each epoch, and the test of two checkpoints."""

from typing import Final, NamedTuple

import torch
from torch import Generator

from afdctl import data
from afdctl.data.base import ImageTensors
from afdctl.data.loader import Split, count_batches
from afdctl.models.cost import CostEstimate, timed
from afdctl.recipe import Recipe
from afdctl.recipe.schema import Evaluation
from afdctl.training.cost_estimate import ImageBatch, build_network
from afdctl.training.evaluate import evaluate
from afdctl.training.schedule import AdversarySchedule

# The test evaluates the last checkpoint and the best one.
TESTED_CHECKPOINTS: Final = 2
# The evaluation that is timed has this number of PGD steps.
TIMED_PGD_STEPS: Final = 2


class MeasuredStep(NamedTuple):
    """Seconds of a step at one length of the attack."""

    attack_steps: int
    seconds: float


def estimate_recipe_time(
    recipe: Recipe, images: ImageBatch, step: MeasuredStep, cost: CostEstimate
) -> dict[str, float] | None:
    """Return the seconds of the whole training on this machine; None for an image folder, whose size is unknown.

    The measured step is scaled by FLOP to the recipe's attack length. If a schedule changes the length, values are
    means over all epochs.
    """
    info = data.loader_of(recipe.data.dataset).info
    if info is None:
        return None
    steps = count_batches(info.train - recipe.data.holdout, recipe.train.batch_size)
    attack_steps = AdversarySchedule(recipe, steps).mean_attack_steps()
    flop, measured_flop = (sum(cost.flop(count).values()) for count in (attack_steps, step.attack_steps))
    step_seconds = step.seconds * flop / measured_flop
    pass_seconds = time_evaluation_pass(recipe, images)
    validation_images = min(recipe.data.holdout, recipe.validation.limit)
    validation = pass_seconds * validation_images * evaluation_passes(recipe.validation)
    test_images = TESTED_CHECKPOINTS * min(info.test, recipe.test.limit or info.test)
    test = pass_seconds * test_images * evaluation_passes(recipe.test)
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
    """Return the maximum of forward-equivalents per image: PGD, clean and attacked images, all queries of Square."""
    return 2 * table.steps + 3 + (table.square_queries + 3 if table.square_queries else 0)


def time_evaluation_pass(recipe: Recipe, images: ImageBatch) -> float:
    """Time a short evaluation; return the seconds of one forward-equivalent of one image."""
    device = images.x.device
    short = recipe.validation.model_copy(update={"steps": TIMED_PGD_STEPS, "square_queries": 0, "limit": None})
    n = min(short.batch_size, 2 * len(images.x))
    x = images.x.repeat(-(-n // len(images.x)), 1, 1, 1)[:n]
    split = Split(ImageTensors((255 * x).byte(), torch.zeros(n, dtype=torch.int64)), device)
    network, noise = build_network(recipe, images), Generator(device).manual_seed(0)

    def run() -> None:
        evaluate(network, split, short, recipe.attack, noise)

    run()  # warm-up
    return timed(run, device) / n / evaluation_passes(short)
