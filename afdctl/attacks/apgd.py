"""APGD (Croce & Hein 2020, arXiv:2003.01690, Algorithm 1) on cross-entropy, as an adversary for training.

PGD that halves a sample's step where the loss stops rising. Every decision is a mask on the device, so no step waits
for it. The evaluation attack `autoattack.apgd_ce` runs AutoAttack's own implementation instead.
"""

from typing import Final

import torch
from torch import Generator, Tensor

from afdctl.attacks.base import IterateTracker, Model, cross_entropy_per_sample, loss_and_gradient
from afdctl.attacks.norms import per_sample, project, random_on_sphere, steepest_direction

# alpha and rho of the paper
MOMENTUM: Final = 0.75
RHO: Final = 0.75


def apgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int,
    random_start: bool = True,
    return_iterate: str = "best_loss",
    generator: Generator,
) -> Tensor:
    """Return x' (n, c, h, w) of one run from a random point of the ball's boundary, or from x."""
    start = random_on_sphere(x, epsilon, norm, generator) if random_start else x
    return apgd_from(model, x, start, y, norm=norm, epsilon=epsilon, steps=steps, return_iterate=return_iterate)


def apgd_from(
    model: Model, x: Tensor, start: Tensor, y: Tensor, *, norm: str, epsilon: float, steps: int, return_iterate: str
) -> Tensor:
    """Return x' of a run from `start`: `steps` gradients and one more forward pass."""
    tracker = IterateTracker(return_iterate, x, y)
    checkpoints = checkpoint_steps(steps)
    x_adv = previous = start
    logits, losses, gradient = loss_and_gradient(model, cross_entropy_per_sample, x_adv, y)
    tracker.update(x_adv, logits, losses)
    # the paper's first step: the diameter of the ball
    step_size = APGDStepSize(x_adv, losses, gradient, 2 * epsilon)
    for step in range(1, steps + 1):
        target = project(x_adv + step_size.value * steepest_direction(gradient, norm), x, epsilon, norm)
        if step > 1:
            # momentum from the second step on
            target = x_adv + MOMENTUM * (target - x_adv) + (1 - MOMENTUM) * (x_adv - previous)
            target = project(target, x, epsilon, norm)
        x_adv, previous = target, x_adv
        if step == steps:
            with torch.no_grad():
                logits = model(x_adv)
                tracker.update(x_adv, logits, cross_entropy_per_sample(logits, y))
            break
        logits, losses, gradient = loss_and_gradient(model, cross_entropy_per_sample, x_adv, y)
        tracker.update(x_adv, logits, losses)
        step_size.observe(x_adv, losses, gradient)
        if step in checkpoints:
            x_adv, gradient = step_size.adapt(x_adv, gradient)
    return tracker.x_adv


def checkpoint_steps(steps: int) -> frozenset[int]:
    """Return the steps after which step sizes are adapted: every 22 % of all steps, shrinking by 3 % to 6 %."""
    interval, shortest, shrink = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    checkpoints, step = set(), interval
    while step <= steps:
        checkpoints.add(step)
        interval = max(interval - shrink, shortest)
        step += interval
    return frozenset(checkpoints)


class APGDStepSize:
    """The step size of each sample (`value`), with what decides it: the best iterate and how often the loss rose."""

    def __init__(self, x_adv: Tensor, losses: Tensor, gradient: Tensor, step_size: float) -> None:
        self.best_x, self.best_gradient, self.best_loss = x_adv, gradient, losses
        self.best_loss_at_checkpoint = losses
        # true, as in AutoAttack's code: the first checkpoint judges by the rises alone
        self.halved = torch.ones_like(losses, dtype=torch.bool)
        self.value = per_sample(torch.full_like(losses, step_size), x_adv)
        # the first interval counts a step from loss 0, as AutoAttack's implementation does
        self.previous_loss = torch.zeros_like(losses)
        self.rises = torch.zeros_like(losses)
        self.observed = 0

    def observe(self, x_adv: Tensor, losses: Tensor, gradient: Tensor) -> None:
        """Update the best iterate and the number of rises with the next iterate."""
        better = losses > self.best_loss
        mask = per_sample(better, x_adv)
        self.best_x = torch.where(mask, x_adv, self.best_x)
        self.best_gradient = torch.where(mask, gradient, self.best_gradient)
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.rises = self.rises + (losses > self.previous_loss)
        self.previous_loss = losses
        self.observed += 1

    def adapt(self, x_adv: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Halve the step and return to the best iterate, where the loss rose rarely or the best one did not improve."""
        stuck = ~self.halved & (self.best_loss_at_checkpoint >= self.best_loss)
        self.halved = stuck | (self.rises <= RHO * self.observed)
        self.best_loss_at_checkpoint = self.best_loss
        self.rises, self.observed = torch.zeros_like(self.rises), 0
        mask = per_sample(self.halved, x_adv)
        self.value = torch.where(mask, self.value / 2, self.value)
        return torch.where(mask, self.best_x, x_adv), torch.where(mask, self.best_gradient, gradient)
