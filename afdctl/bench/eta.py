"""How long a whole recipe takes: its steps, a validation after each epoch, and the test of two checkpoints."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator

from afdctl import data
from afdctl.bench.outline import Cost
from afdctl.bench.steps import Batch, name_of, network_of, synchronize
from afdctl.data.batches import Split
from afdctl.data.dataset import Images
from afdctl.recipe import Recipe
from afdctl.recipe.schema import Evaluation
from afdctl.train.evaluation import evaluate
from afdctl.train.schedule import Schedule

TESTED = 2
"""Checkpoints: the last and the best, where they differ."""
TRIED_STEPS = 2


def of_recipe(recipe: Recipe, images: Batch, row: Mapping[str, Any], cost: Cost) -> dict[str, float] | None:
    """Seconds of the whole training on this machine; None for a folder, whose size is not known.

    A step of another attack length than the measured one takes as much longer as it has more FLOP; where a schedule
    changes the length, the figures are means over all epochs. A warm-up of epsilon costs nothing.
    """
    about = data.dataset(recipe.data.dataset).about
    if about is None:
        return None
    full, rest = divmod(about.train - recipe.data.holdout, recipe.train.batch_size)
    steps = full + (rest > 1)
    attack_steps = Schedule(recipe, steps).mean_attack_steps()
    wanted, measured = (sum(cost.flop(count).values()) for count in (attack_steps, row["attack_steps"]))
    step = row[f"{name_of(recipe)}_seconds"] * wanted / measured
    each = seconds_a_pass(recipe, images)
    validated = min(recipe.data.holdout, recipe.validation.limit)
    validation = each * validated * passes(recipe.validation)
    test = TESTED * each * min(about.test, recipe.test.limit or about.test) * passes(recipe.test)
    epochs = recipe.train.epochs
    return {
        "epochs": epochs,
        "steps_per_epoch": steps,
        "attack_steps": attack_steps,
        "step_seconds": step,
        "epoch_seconds": steps * step,
        "validation_seconds": validation,
        "test_seconds": test,
        "total_seconds": epochs * (steps * step + validation) + test,
    }


def passes(table: Evaluation) -> int:
    """The most forward-equivalents of an evaluation for each image: PGD, clean and attacked images, all of Square."""
    return 2 * table.steps + 3 + (table.queries + 3 if table.queries else 0)


def seconds_a_pass(recipe: Recipe, images: Batch) -> float:
    """Seconds of one forward-equivalent of one image in an evaluation, from a short one, after one that warms up."""
    device = images.x.device
    short = recipe.validation.model_copy(update={"steps": TRIED_STEPS, "queries": 0, "limit": None})
    n = min(short.batch_size, 2 * len(images.x))
    shown = images.x.repeat(-(-n // len(images.x)), 1, 1, 1)[:n]
    split = Split(Images((255 * shown).byte(), torch.zeros(n, dtype=torch.int64)), device)
    network, noise = network_of(recipe, images), Generator(device).manual_seed(0)
    for _ in range(2):
        began = time.perf_counter()
        evaluate(network, split, short, recipe.attack, noise)
        synchronize(device)
    return (time.perf_counter() - began) / n / passes(short)
