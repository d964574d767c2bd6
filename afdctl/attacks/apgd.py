"""APGD (Croce & Hein 2020, arXiv:2003.01690, Algorithm 1) on cross-entropy, as an adversary for training.

PGD that halves a sample's step where the loss stops rising; in l1 with sparse steps (Croce & Hein 2021,
arXiv:2103.01208). Every decision is a mask on the device, so no step waits for it. The evaluation attack
`autoattack.apgd_ce` runs AutoAttack's own implementation instead.
"""

from typing import Final

import torch
from torch import Generator, Tensor

from afdctl.attacks.base import IterateTracker, Model, cross_entropy_per_sample, loss_and_gradient
from afdctl.attacks.norms import per_sample, project, random_on_sphere, steepest_direction
from afdctl.attacks.sparse_l1 import TRAINING_SHARE, project_exactly, sparse_direction

# alpha and rho of the paper
MOMENTUM: Final = 0.75
RHO: Final = 0.75
# in l1: by what the share of pixels and the step size shrink
SPARSER: Final = 1.5


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
    model: Model,
    x: Tensor,
    start: Tensor,
    y: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int,
    return_iterate: str,
    share: float = TRAINING_SHARE,
) -> Tensor:
    """Return x' of a run from `start`: `steps` gradients, and one more forward pass where x' is not the last iterate.

    In l1 the first steps move a `share` of the pixels.
    """
    tracker = IterateTracker(return_iterate, x, y)
    x_adv = previous = start
    logits, losses, gradient = loss_and_gradient(model, cross_entropy_per_sample, x_adv, y)
    tracker.update(x_adv, logits, losses)
    best = BestIterate(x_adv, losses, gradient)
    rule: SparseRule | MomentumRule = MomentumRule(x=x, norm=norm, epsilon=epsilon, losses=losses, steps=steps)
    if norm == "l1":
        rule = SparseRule(x, epsilon, share, steps)
    for step in range(1, steps + 1):
        x_adv, previous = rule.step(x_adv, previous, gradient), x_adv
        if step == steps and return_iterate == "last":
            return x_adv
        if step == steps:
            with torch.no_grad():
                logits = model(x_adv)
                tracker.update(x_adv, logits, cross_entropy_per_sample(logits, y))
            break
        logits, losses, gradient = loss_and_gradient(model, cross_entropy_per_sample, x_adv, y)
        tracker.update(x_adv, logits, losses)
        best.update(x_adv, losses, gradient)
        rule.observe(losses)
        if step in rule.checkpoints:
            back = per_sample(rule.adapt(best), x)
            x_adv, gradient = torch.where(back, best.x_adv, x_adv), torch.where(back, best.gradient, gradient)
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


class BestIterate:
    """The iterate of the largest loss so far, sample by sample, with its gradient."""

    def __init__(self, x_adv: Tensor, losses: Tensor, gradient: Tensor) -> None:
        self.x_adv, self.losses, self.gradient = x_adv, losses, gradient

    def update(self, x_adv: Tensor, losses: Tensor, gradient: Tensor) -> None:
        """Compare with the next iterates."""
        better = losses > self.losses
        mask = per_sample(better, x_adv)
        self.x_adv = torch.where(mask, x_adv, self.x_adv)
        self.gradient = torch.where(mask, gradient, self.gradient)
        self.losses = torch.where(better, losses, self.losses)


class MomentumRule:
    """APGD in linf and l2: momentum, and a step size (n, 1, ...) that is halved where the loss stops rising."""

    def __init__(self, *, x: Tensor, norm: str, epsilon: float, losses: Tensor, steps: int) -> None:
        self.x, self.norm, self.epsilon = x, norm, epsilon
        self.checkpoints = checkpoint_steps(steps)
        self._best_at_checkpoint = losses
        # true, as in AutoAttack's code: the first checkpoint judges by the rises alone
        self._halved = torch.ones_like(losses, dtype=torch.bool)
        # the paper's first step: the diameter of the ball
        self._step_size = per_sample(torch.full_like(losses, 2 * epsilon), x)
        # the first interval counts a step from loss 0, as AutoAttack's implementation does
        self._previous_loss = torch.zeros_like(losses)
        self._rises = torch.zeros_like(losses)
        self._observed = 0
        self._moved = False

    def step(self, x_adv: Tensor, previous: Tensor, gradient: Tensor) -> Tensor:
        """Return the next iterates, with momentum from the second step on."""
        target = x_adv + self._step_size * steepest_direction(gradient, self.norm)
        target = project(target, self.x, self.epsilon, self.norm)
        if self._moved:
            target = x_adv + MOMENTUM * (target - x_adv) + (1 - MOMENTUM) * (x_adv - previous)
            target = project(target, self.x, self.epsilon, self.norm)
        self._moved = True
        return target

    def observe(self, losses: Tensor) -> None:
        """Count the rises of the loss."""
        self._rises = self._rises + (losses > self._previous_loss)
        self._previous_loss = losses
        self._observed += 1

    def adapt(self, best: BestIterate) -> Tensor:
        """Halve the step where the loss rose rarely or its best did not improve; return where (n,)."""
        stuck = ~self._halved & (self._best_at_checkpoint >= best.losses)
        self._halved = stuck | (self._rises <= RHO * self._observed)
        self._best_at_checkpoint = best.losses
        self._rises, self._observed = torch.zeros_like(self._rises), 0
        self._step_size = torch.where(per_sample(self._halved, self.x), self._step_size / 2, self._step_size)
        return self._halved


class SparseRule:
    """APGD in l1: sparse steps, of which step size (n, 1, ...) and share of pixels (n,) follow the best perturbation.

    The share becomes that of the best perturbation's pixels, divided by 1.5. The step begins at epsilon. It shrinks by
    1.5, at most to a tenth, where the perturbation does not get sparser, and begins again where it does.
    """

    def __init__(self, x: Tensor, epsilon: float, share: float, steps: int) -> None:
        self.x, self.epsilon = x, epsilon
        interval = max(int(0.04 * steps), 1)
        self.checkpoints = frozenset(range(interval, steps + 1, interval))
        self._share = torch.full_like(x.flatten(1)[:, 0], share)
        self._step_size = per_sample(torch.full_like(self._share, epsilon), x)
        self._pixels = torch.full_like(self._share, x.shape[1:].numel())

    def step(self, x_adv: Tensor, previous: Tensor, gradient: Tensor) -> Tensor:
        """Return the next iterates; in l1 there is no momentum."""
        target = x_adv + self._step_size * sparse_direction(gradient, self._share)
        return project_exactly(target, self.x, self.epsilon)

    def observe(self, losses: Tensor) -> None:
        """Do nothing, as the losses do not decide the step size."""

    def adapt(self, best: BestIterate) -> Tensor:
        """Update share and step size; return where (n,) the best perturbation got sparser."""
        pixels = (best.x_adv != self.x).flatten(1).sum(1).to(self._share.dtype)
        sparser = pixels < 0.95 * self._pixels
        self._share = pixels / self.x.shape[1:].numel() / SPARSER
        smaller = (self._step_size / SPARSER).clamp_min(self.epsilon / 10)
        self._step_size = torch.where(per_sample(sparser, self.x), self.epsilon, smaller)
        self._pixels = pixels
        return sparser
