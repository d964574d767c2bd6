"""The loop of every attack with a budget: look at the iterates, leave the settled samples alone, move the others.

A sample is settled where its iterate fools the model, and where the model answers NaN: nothing leads on from there, and
as its x' the iterate shows the NaN to whoever verifies it.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from afdctl.attacks.base import (
    NOT_FOUND,
    AttackResult,
    Model,
    cross_entropy_of,
    is_fooled,
    loss_and_gradient,
    per_sample,
)
from afdctl.attacks.norms import fix_rounding, lp_norm, random_in_ball
from afdctl.attacks.sample_rng import SampleRNG

Run = Callable[[Tensor, Tensor, SampleRNG], tuple[AttackResult, Tensor]]


class StepRule(Protocol):
    """Where an attack goes from x_adv (n, c, h, w); it may remember something of each sample."""

    needs_gradient: bool

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        """The next iterates, in the ball around x and in the box."""

    def keep(self, mask: Tensor) -> None:
        """Forget the samples outside the mask (n,)."""


def run_gradient_attack(
    model: Model, x: Tensor, y: Tensor, start: Tensor, move: StepRule, *, steps: int, early_stop: bool
) -> tuple[AttackResult, Tensor]:
    """What `steps` moves from `start` find, and whose x' is settled (n,); without `early_stop` nobody stops there."""
    found = AttackResult.nothing(x)
    settled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    left = torch.arange(len(x), device=x.device)
    x_adv = start
    for step in range(steps + 1 if len(x) else 0):
        last = step == steps
        logits, gradient = _evaluate(model, x_adv, y, move.needs_gradient and not last)
        fooled, broken = is_fooled(logits, y)
        _record(found, left, fooled, step, move.needs_gradient and not last)
        settled[left] = done = fooled | broken
        if last:
            break
        if early_stop and done.any():
            found.x_adv[left] = x_adv
            left, x, y, x_adv, gradient = (rows[~done] for rows in (left, x, y, x_adv, gradient))
            move.keep(~done)
            if not len(left):
                break
        x_adv = move(x, x_adv, gradient)
    found.x_adv[left] = x_adv
    return found, settled


def with_restarts(run: Run, x: Tensor, y: Tensor, draws: SampleRNG, *, restarts: int, steps: int) -> AttackResult:
    """`run` up to `restarts` times, of `steps` steps each, again only for samples that it has not settled."""
    found, settled = run(x, y, draws)
    for restart in range(1, restarts):
        left = (~settled).nonzero().squeeze(1)
        if not len(left):
            break
        again, settled[left] = run(x[left], y[left], draws.take(left))
        later = torch.where(again.fooled, again.first_success + restart * steps, NOT_FOUND)
        earlier = found.first_success[left]
        again.first_success = torch.where(earlier == NOT_FOUND, later, earlier)
        found.put(left, again)
    return found


def _evaluate(model: Model, x_adv: Tensor, y: Tensor, needs_gradient: bool) -> tuple[Tensor, Tensor]:
    """Logits and the cross-entropy's gradient, 0 where that is NaN; an unneeded gradient is x_adv."""
    if needs_gradient:
        logits, _, gradient = loss_and_gradient(model, cross_entropy_of(y), x_adv)
        return logits, gradient.nan_to_num()
    with torch.no_grad():
        return model(x_adv), x_adv


def _record(found: AttackResult, left: Tensor, fooled: Tensor, step: int, backward: bool) -> None:
    earlier = found.first_success[left]
    found.first_success[left] = torch.where(fooled & (earlier == NOT_FOUND), step, earlier)
    found.forwards[left] += 1
    found.backwards[left] += int(backward)


SMALLEST = 1e-12
"""Of a norm that something is divided by."""


def step_length(epsilon: float, steps: int, step_size: float | None, rel_step: float | None) -> float:
    """The absolute step; without either knob 2.5 epsilon / steps, which crosses the ball and 0.5 more."""
    if step_size is not None:
        return step_size
    return (2.5 / steps if rel_step is None else rel_step) * epsilon


def starting_point(x: Tensor, epsilon: float, norm: str, draws: SampleRNG, random_start: bool) -> Tensor:
    """A uniform point of the ball, clipped to [0, 1], or x."""
    return fix_rounding(random_in_ball(x, epsilon, norm, draws), x, epsilon, norm) if random_start else x


def steepest_direction(gradient: Tensor, norm: str) -> Tensor:
    """The gradient's signs, or the gradient scaled to length 1: dense in L1 too, though one pixel is steeper."""
    if norm == "linf":
        return gradient.sign()
    size = lp_norm(gradient, norm)
    # a confident model's gradient is measured in units of its largest pixel first: its squares underflow
    largest = gradient.flatten(1).abs().amax(1).clamp_min(torch.finfo(gradient.dtype).tiny)
    scaled = gradient / per_sample(largest, gradient)
    scaled = scaled * per_sample(1 / lp_norm(scaled, norm).clamp_min(SMALLEST), gradient)
    usual = gradient * per_sample(1 / size.clamp_min(SMALLEST), gradient)
    return torch.where(per_sample(size < SMALLEST, gradient), scaled, usual)


def project(x_adv: Tensor, x: Tensor, epsilon: float, norm: str) -> Tensor:
    """x plus the perturbation cut to epsilon (Linf) or scaled down to it (L2, L1), clipped to [0, 1]."""
    delta = x_adv - x
    if norm == "linf":
        delta.clamp_(-epsilon, epsilon)
    else:
        delta *= per_sample((epsilon / lp_norm(delta, norm).clamp_min(SMALLEST)).clamp_max(1), delta)
    return fix_rounding((x + delta).clamp_(0, 1), x, epsilon, norm)


class SteepestStep:
    """x <- retract(x + step unit(gradient))."""

    needs_gradient = True

    def __init__(self, norm: str, epsilon: float, step: float) -> None:
        self.norm, self.epsilon, self.step = norm, epsilon, step

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        return project(x_adv + self.step * steepest_direction(gradient, self.norm), x, self.epsilon, self.norm)

    def keep(self, mask: Tensor) -> None:
        """Nothing to forget: it remembers nothing."""


class MomentumStep(SteepestStep):
    """g <- decay g + gradient / ||gradient||_1, then a step along g."""

    def __init__(self, norm: str, epsilon: float, step: float, decay: float, like: Tensor) -> None:
        super().__init__(norm, epsilon, step)
        self.decay = decay
        self.g = torch.zeros_like(like)

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        # only a gradient of 0 is held back: a sure model's, however small, counts as much as any other
        size = lp_norm(gradient, "l1").clamp_min(torch.finfo(gradient.dtype).tiny)
        self.g = self.decay * self.g + gradient / per_sample(size, gradient)
        return super().__call__(x, x_adv, self.g)

    def keep(self, mask: Tensor) -> None:
        """Forget the momentum of the samples outside the mask (n,)."""
        self.g = self.g[mask]
