"""DeepFool (Moosavi-Dezfooli et al. 2016): steps to the nearest boundary of the model's linearisation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from afdctl.attacks.base import AttackResult, Model, SampleBatch, fools_by, is_misclassified, per_sample
from afdctl.attacks.norms import lp_norm
from afdctl.attacks.sample_rng import SampleRNG

BEYOND = 1e-4
"""How much longer each step is than it need be, for those that rounding would leave short of the boundary."""
DUAL = {"linf": "l1", "l2": "l2"}


@dataclass
class ActiveSamples(SampleBatch):
    """Samples that still step: their number in the batch, x, y, other classes by logit, and the sum of their steps."""

    number: Tensor
    x: Tensor
    y: Tensor
    rivals: Tensor
    total: Tensor
    x_adv: Tensor


@torch.no_grad()
def deepfool(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    draws: SampleRNG,
    norm: str,
    steps: int,
    candidates: int,
    overshoot: float,
) -> AttackResult:
    """The first iterate that fooled; x where `steps` steps were too few. It draws nothing.

    `candidates` classes are looked at, y among them: those of the largest logits at x.
    """
    found = AttackResult.nothing(x)
    left = ActiveSamples(torch.arange(len(x), device=x.device), x, y, y, torch.zeros_like(x), x)
    for step in range(steps + 1 if len(x) else 0):
        # first without a graph: whoever is fooled then costs no backward passes, and those are the bulk of the work
        logits = model(left.x_adv)
        found.forwards[left.number] += 1
        if step == 0:
            left.rivals = rivals(logits, y, candidates)
        left = drop_fooled(left, fools_by(logits, left.y) if step else is_misclassified(logits, y), found, step)
        if step == steps or not len(left.x):
            break
        distance, slope = nearest_boundary(model, left, norm)
        found.forwards[left.number] += 1
        found.backwards[left.number] += left.rivals.shape[1]
        left.total = left.total + step_along(slope, distance + BEYOND, norm)
        left.x_adv = (left.x + (1 + overshoot) * left.total).clamp_(0, 1)
    return found


def rivals(logits: Tensor, y: Tensor, candidates: int) -> Tensor:
    """The classes other than y (n, candidates - 1) of the largest logits (n, classes), or all of them."""
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.topk(min(candidates, logits.shape[1]) - 1, dim=1).indices


def drop_fooled(left: ActiveSamples, fooled: Tensor, found: AttackResult, step: int) -> ActiveSamples:
    """Write down who has just been fooled; the others."""
    done = left.take(fooled)
    found.x_adv[done.number] = done.x_adv
    found.first_success[done.number] = step
    return left.take(~fooled)


def nearest_boundary(model: Model, left: ActiveSamples, norm: str) -> tuple[Tensor, Tensor]:
    """To each sample's nearest linearised boundary: the distance (n,) and the slope of the gap between two logits.

    Where no boundary has a slope, both are 0.
    """
    with torch.enable_grad():
        at = left.x_adv.detach().requires_grad_()
        logits = model(at)
        gaps = logits.gather(1, left.rivals) - logits.gather(1, left.y[:, None])
    nearest, nearest_slope = gaps.new_full((len(at),), torch.inf), torch.zeros_like(at)
    last = gaps.shape[1] - 1
    for number, column in enumerate(torch.eye(last + 1, dtype=gaps.dtype, device=gaps.device)):
        (slope,) = torch.autograd.grad(gaps, at, column.expand_as(gaps), retain_graph=number < last)
        distance = gaps.detach()[:, number].abs() / lp_norm(slope, DUAL[norm])
        # a class without slope is infinitely far, and no comparison with NaN is true
        nearer = distance < nearest
        nearest = torch.where(nearer, distance, nearest)
        nearest_slope = torch.where(per_sample(nearer, slope), slope, nearest_slope)
    return torch.where(nearest.isfinite(), nearest, 0), nearest_slope


def step_along(slope: Tensor, distance: Tensor, norm: str) -> Tensor:
    """The shortest step by which a linear function of this slope falls or rises by `distance` times its dual norm."""
    if norm == "linf":
        return per_sample(distance, slope) * slope.sign()
    return per_sample(distance / lp_norm(slope, norm).clamp_min(1e-30), slope) * slope
