"""What a training will cost, counted in a moment before it begins: nothing of the training is touched."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator

from afdctl.attacks.adversary import Adversary
from afdctl.bench.ceilings import ceiling_of, product_rate
from afdctl.bench.counting import Operations, count
from afdctl.bench.steps import Batch, attack_of, defense, plain, random_batch
from afdctl.models.precision import DTYPES
from afdctl.recipe import Recipe

IMAGES = 2
"""As few as BatchNorm can train on: the FLOP of all products and convolutions grow with the batch."""


@dataclass(frozen=True)
class Cost:
    """FLOP of a training step on one image: of the attack before its first step and for each step, and of C, D, F."""

    attack_start: float
    attack_step: float
    training: dict[str, float]

    def flop(self, attack_steps: float) -> dict[str, float]:
        """The same by parts, at a number of attack steps."""
        return {"attack": self.attack_start + attack_steps * self.attack_step, **self.training}


def cost(recipe: Recipe, images: Batch) -> Cost:
    """Count a step at one attack step, and on one image the attack at two, with a network of its own."""
    with torch.random.fork_rng(devices=[]):
        # in float32, which is counted fastest: FLOP do not depend on it
        copy = defense(plain(recipe), recipe.defense, 1, images)
    flop = {part: value / len(images.x) for part, value in count(copy, images.x, images.y).flop.items()}
    once, twice = flop.pop("attack"), 0
    if once:
        noise = Generator(images.x.device).manual_seed(0)
        adversary = Adversary(copy.network, attack_of(recipe.attack, recipe.defense.name, 2), noise)
        with Operations() as gauge:
            adversary(images.x[:1], images.y[:1])
        twice = gauge.flop
    return Cost(2 * once - twice, twice - once, {part: flop[part] for part in "CDF"})


def outline(recipe: Recipe, shape: Sequence[int], classes: int, device: torch.device) -> dict[str, Any]:
    """The journal's `cost` event for images of a shape (c, h, w).

    `flop` of a full step by parts and of one of its attack steps, the rate of a matrix product in FLOP/s, and
    `floor_seconds`, which a step cannot be faster than.
    """
    counted, batch = cost(recipe, random_batch(IMAGES, shape, classes, device)), recipe.train.batch_size
    flop = {part: round(batch * each) for part, each in counted.flop(recipe.attack.steps).items()}
    dtype = ceiling_of(recipe.train.precision, device)
    rate = product_rate(device, DTYPES[dtype])
    return {
        "flop": flop,
        "attack_step_flop": round(batch * counted.attack_step),
        "batch_size": batch,
        "product_flop_per_s": rate,
        "dtype": dtype,
        "floor_seconds": sum(flop.values()) / rate,
    }
