"""Adversaries for a union of balls in several norms, for training.

`balls` maps norms to radii; x' (n, c, h, w) is in one of the balls for each sample.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from afdctl.attacks.base import IterateTracker, Model, cross_entropy_per_sample, loss_and_gradient
from afdctl.attacks.gradient_loop import step_length
from afdctl.attacks.norms import per_sample, random_in_ball
from afdctl.attacks.pgd import training_step


def worst_of(model: Model, y: Tensor, candidates: Sequence[Tensor]) -> Tensor:
    """Return for each sample that of its candidates (n, c, h, w) with the largest cross-entropy.

    With one x' of each norm as candidates it is "max" of Tramèr & Boneh 2019 (arXiv:1904.13000).
    """
    with torch.no_grad():
        losses = torch.stack([cross_entropy_per_sample(model(x_adv), y) for x_adv in candidates])
    # NaN is no maximum
    worst = losses.nan_to_num(nan=-torch.inf).argmax(0)
    x_adv = candidates[0]
    for number, candidate in enumerate(candidates[1:], 1):
        x_adv = torch.where(per_sample(worst == number, x_adv), candidate, x_adv)
    return x_adv


def msd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    balls: Mapping[str, float],
    steps: int,
    random_start: bool,
    return_iterate: str,
    generator: Generator,
) -> Tensor:
    """Return x' of multi steepest descent (Maini et al. 2020, arXiv:1909.04068).

    Each step tries a step of PGD in every norm, projected to its ball, and keeps the one with the largest loss.
    """
    first, epsilon = next(iter(balls.items()))
    x_adv = random_in_ball(x, epsilon, first, generator) if random_start else x
    rules = [training_step(norm, radius, step_length(radius, steps, None)) for norm, radius in balls.items()]
    tracker = IterateTracker(return_iterate, x, y)
    for _ in range(steps):
        logits, losses, gradient = loss_and_gradient(model, cross_entropy_per_sample, x_adv, y)
        tracker.update(x_adv, logits, losses)
        x_adv = worst_of(model, y, [rule(x, x_adv, gradient) for rule in rules])
    if return_iterate == "last":
        return x_adv
    with torch.no_grad():
        logits = model(x_adv)
        tracker.update(x_adv, logits, cross_entropy_per_sample(logits, y))
    return tracker.x_adv
