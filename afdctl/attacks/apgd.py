"""APGD (Croce & Hein 2020, Algorithm 1) on cross-entropy: PGD that halves its step where it stops to pay.

Every decision is a mask on the device: a step never waits for it.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from afdctl.attacks.base import IterateTracker, Model, cross_entropy_of, loss_and_gradient, per_sample
from afdctl.attacks.norms import ascent_direction, projector, random_on_sphere

MOMENTUM = 0.75
RHO = 0.75


def apgd_ce(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int,
    random_start: bool = True,
    keep: str = "worst_loss",
    generator: Generator,
) -> Tensor:
    """x' (n, c, h, w) after one run from a random point of the ball's boundary, or from x."""
    start = random_on_sphere(x, epsilon, norm, generator) if random_start else x
    return apgd_from(model, x, start, y, norm=norm, epsilon=epsilon, steps=steps, keep=keep)


def apgd_from(
    model: Model, x: Tensor, start: Tensor, y: Tensor, *, norm: str, epsilon: float, steps: int, keep: str
) -> Tensor:
    """The same from a given start: `steps` gradients and one more forward pass."""
    objective = cross_entropy_of(y)
    kept = IterateTracker(keep, x, y)
    project = projector(x, epsilon, norm)
    checkpoints = checkpoint_steps(steps)
    x_adv = before = start
    logits, losses, gradient = loss_and_gradient(model, objective, x_adv)
    kept.offer(x_adv, logits, losses)
    pace = APGDStepSize(x_adv, losses, gradient, 2 * epsilon)
    for step in range(1, steps + 1):
        uphill = pace.step_size * ascent_direction(gradient, norm)
        x_adv, before = advance(x_adv, before, uphill, project, first=step == 1), x_adv
        if step == steps:
            with torch.no_grad():
                logits = model(x_adv)
                kept.offer(x_adv, logits, objective(logits))
            break
        logits, losses, gradient = loss_and_gradient(model, objective, x_adv)
        kept.offer(x_adv, logits, losses)
        pace.observe(x_adv, losses, gradient)
        if step in checkpoints:
            x_adv, gradient = pace.adapt(x_adv, gradient)
    return kept.x_adv


def advance(
    x_adv: Tensor, before: Tensor, uphill: Tensor, project: Callable[[Tensor], Tensor], *, first: bool
) -> Tensor:
    """One projected step uphill, with momentum; the first has none."""
    step = project(x_adv + uphill)
    if first:
        return step
    return project(x_adv + MOMENTUM * (step - x_adv) + (1 - MOMENTUM) * (x_adv - before))


def checkpoint_steps(steps: int) -> frozenset[int]:
    """The steps after which step sizes are reconsidered: intervals of 22 % of all steps, shrinking by 3 % to 6 %."""
    interval, least, shrink = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    places, at = set(), interval
    while at <= steps:
        places.add(at)
        interval = max(interval - shrink, least)
        at += interval
    return frozenset(places)


class APGDStepSize:
    """The step size of each sample, and what decides it: its best iterate and how often the loss rose."""

    def __init__(self, x_adv: Tensor, losses: Tensor, gradient: Tensor, step_size: float) -> None:
        self.best_x, self.best_gradient, self.best = x_adv, gradient, losses
        self.best_at_checkpoint = losses
        self.halved = torch.ones_like(losses, dtype=torch.bool)
        self.step_size = per_sample(torch.full_like(losses, step_size), x_adv)
        # the first interval counts a step from loss 0, as AutoAttack's implementation does
        self.previous = torch.zeros_like(losses)
        self.rises = torch.zeros_like(losses)
        self.observed = 0

    def observe(self, x_adv: Tensor, losses: Tensor, gradient: Tensor) -> None:
        """Take in the next iterate."""
        better = losses > self.best
        image = per_sample(better, x_adv)
        self.best_x = torch.where(image, x_adv, self.best_x)
        self.best_gradient = torch.where(image, gradient, self.best_gradient)
        self.best = torch.where(better, losses, self.best)
        self.rises = self.rises + (losses > self.previous)
        self.previous = losses
        self.observed += 1

    def adapt(self, x_adv: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Halve the step and go back to the best iterate, where the loss rose rarely or a full step did not pay."""
        stuck = ~self.halved & (self.best_at_checkpoint >= self.best)
        self.halved = stuck | (self.rises <= RHO * self.observed)
        self.best_at_checkpoint = self.best
        self.rises, self.observed = torch.zeros_like(self.rises), 0
        image = per_sample(self.halved, x_adv)
        self.step_size = torch.where(image, self.step_size / 2, self.step_size)
        return torch.where(image, self.best_x, x_adv), torch.where(image, self.best_gradient, gradient)
