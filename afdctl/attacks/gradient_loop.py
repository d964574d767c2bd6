"""The loop of every attack with a budget: evaluate the iterates, drop the settled samples, step the rest.

A sample is settled where its iterate fools the model. It is also settled where the model answers NaN: no gradient leads
on from there, and as x' the iterate shows the NaN to the verification.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from afdctl.attacks.base import (
    NOT_FOUND,
    AttackResult,
    IterateTracker,
    Loss,
    Model,
    cross_entropy_per_sample,
    is_fooled,
    is_misclassified,
    loss_and_gradient,
)
from afdctl.attacks.norms import project, steepest_direction
from afdctl.attacks.sample_rng import SampleRNG

Run = Callable[[Tensor, Tensor, SampleRNG], tuple[AttackResult, Tensor]]


class StepRule(Protocol):
    """How an attack moves x_adv (n, c, h, w). A rule may keep state for each sample."""

    needs_gradient: bool

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        """Return the next iterates, in the ball around x and in [0, 1]."""

    def select(self, mask: Tensor) -> None:
        """Drop the state of samples outside the mask (n,)."""


class SteepestStep:
    """x_adv <- project(x_adv + step_size * steepest_direction(gradient))."""

    needs_gradient = True

    def __init__(self, norm: str, epsilon: float, step_size: float) -> None:
        self.norm, self.epsilon, self.step_size = norm, epsilon, step_size

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        return project(x_adv + self.step_size * steepest_direction(gradient, self.norm), x, self.epsilon, self.norm)

    def select(self, mask: Tensor) -> None:
        """Do nothing, as there is no state."""


def step_length(epsilon: float, steps: int, step_size: float | None, rel_step: float | None = None) -> float:
    """Return the absolute step: `step_size`, `rel_step` times epsilon, or by default 2.5 epsilon / steps."""
    if step_size is not None:
        return step_size
    return (2.5 / steps if rel_step is None else rel_step) * epsilon


def run_gradient_attack(
    model: Model,
    x: Tensor,
    y: Tensor,
    start: Tensor,
    step_rule: StepRule,
    *,
    steps: int,
    early_stop: bool,
    loss: Loss = cross_entropy_per_sample,
    return_iterate: str = "last",
    eot: int = 1,
    judge_last: bool = True,
) -> tuple[AttackResult, Tensor]:
    """Take up to `steps` steps from `start`. Return the result and which samples are settled at their x' (n,).

    For a random model gradients are averaged over `eot` passes (expectation over transformation; Athalye et al. 2018,
    arXiv:1707.07397), and the class of most of these passes decides success.

    With `early_stop` a settled sample keeps its iterate as x' and costs no more passes. Without it all samples take all
    steps, no operation waits for the device, and `return_iterate` chooses x' (see `IterateTracker`). Without
    `judge_last` the last iterate costs no pass, and the result does not show whether it fools.
    """
    result = AttackResult.empty(x)
    settled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    remaining = torch.arange(len(x), device=x.device)
    tracker = IterateTracker(return_iterate, x, y)
    x_adv = start
    # a model is never called on an empty batch
    for step in range(steps + judge_last if len(x) else 0):
        needs_gradient = step_rule.needs_gradient and step < steps
        passes = [evaluate(model, loss, x_adv, y, needs_gradient) for _ in range(eot)]
        logits, losses, gradient = passes[0] if eot == 1 else map(_mean, zip(*passes, strict=True))
        tracker.update(x_adv, logits, losses)
        fooled = is_misclassified(logits, y) if eot == 1 else is_fooled([each for each, _, _ in passes], y)
        record_passes(result, remaining, fooled, step, needs_gradient, eot)
        settled[remaining] = done = fooled | logits.isnan().any(1)
        if step == steps:
            break
        # `any` waits for the device, which a training must not; it has no early stop
        if early_stop and done.any():
            result.x_adv[remaining] = x_adv
            active = ~done
            remaining, x, y, x_adv, gradient = (rows[active] for rows in (remaining, x, y, x_adv, gradient))
            step_rule.select(active)
            tracker.select(active)
            if not len(remaining):
                break
        x_adv = step_rule(x, x_adv, gradient)
    result.x_adv[remaining] = x_adv if return_iterate == "last" else tracker.x_adv
    return result, settled


def evaluate(model: Model, loss: Loss, x_adv: Tensor, y: Tensor, needs_gradient: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, losses and gradient; x_adv takes the place of a gradient that is not needed."""
    if needs_gradient:
        return loss_and_gradient(model, loss, x_adv, y)
    with torch.no_grad():
        logits = model(x_adv)
        return logits, loss(logits, y), x_adv


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(tensors)).mean(0)


def record_passes(
    result: AttackResult, remaining: Tensor, fooled: Tensor, step: int, backward: bool, passes: int
) -> None:
    """Count the passes of the samples `remaining` (m,), and note which of them are fooled for the first time."""
    earlier = result.first_success_step[remaining]
    result.first_success_step[remaining] = torch.where(fooled & (earlier == NOT_FOUND), step, earlier)
    result.forwards[remaining] += passes
    result.backwards[remaining] += passes * backward


def with_restarts(run: Run, x: Tensor, y: Tensor, rng: SampleRNG, *, restarts: int, steps: int) -> AttackResult:
    """Call `run` up to `restarts` times, of `steps` steps each, later for the samples that are not settled yet."""
    result, settled = run(x, y, rng)
    for restart in range(1, restarts):
        remaining = (~settled).nonzero().squeeze(1)
        if not len(remaining):
            break
        retry, settled[remaining] = run(x[remaining], y[remaining], rng.select(remaining))
        # steps count on from run to run, and the first success of all runs is reported
        later = torch.where(retry.fooled, retry.first_success_step + restart * steps, NOT_FOUND)
        earlier = result.first_success_step[remaining]
        retry.first_success_step = torch.where(earlier == NOT_FOUND, later, earlier)
        result.update(remaining, retry)
    return result
