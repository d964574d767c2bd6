"""DeepFool (Moosavi-Dezfooli et al. 2016, arXiv:1511.04599): steps to the nearest boundary of the linearised model."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from afdctl.attacks.base import (
    AttackResult,
    Model,
    SampleBatch,
    is_misclassified,
    rounding_margin,
    target_margins,
)
from afdctl.attacks.norms import lp_norm, per_sample
from afdctl.attacks.sample_rng import SampleRNG

# added to each distance, because rounding would leave some samples short of the boundary
EXTRA_DISTANCE: Final = 1e-4
DUAL_NORM: Final = {"linf": "l1", "l2": "l2"}


@dataclass
class ActiveSamples(SampleBatch):
    """Samples that still step: number in the batch, x, y, other classes by logit, sum of the steps, and x'."""

    number: Tensor
    x: Tensor
    y: Tensor
    targets: Tensor
    total_step: Tensor
    x_adv: Tensor


@torch.no_grad()
def deepfool(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    rng: SampleRNG,
    norm: str,
    steps: int,
    candidates: int,
    overshoot: float,
) -> AttackResult:
    """Return the first iterate that fools the model, or x where `steps` steps do not suffice.

    It considers the `candidates` classes of the largest logits at x, y among them. Steps are made 1 + `overshoot` times
    as long. Draws no random numbers.
    """
    result = AttackResult.empty(x)
    active = ActiveSamples(
        number=torch.arange(len(x), device=x.device), x=x, y=y, targets=y, total_step=torch.zeros_like(x), x_adv=x
    )
    for step in range(steps + 1 if len(x) else 0):
        # first without a graph, because backward passes are the bulk of the work and a fooled sample needs none
        logits = model(active.x_adv)
        result.forwards[active.number] += 1
        if step == 0:
            active.targets = likeliest_others(logits, y, candidates)
            fooled = is_misclassified(logits, y)
        else:
            fooled = is_misclassified(logits, active.y, rounding_margin(logits, active.y))
        active = drop_fooled(active, fooled, result, step)
        if step == steps or not len(active.x):
            break
        distance, gradient = nearest_boundary(model, active, norm)
        result.forwards[active.number] += 1
        result.backwards[active.number] += active.targets.shape[1]
        active.total_step = active.total_step + shortest_step(gradient, distance + EXTRA_DISTANCE, norm)
        active.x_adv = (active.x + (1 + overshoot) * active.total_step).clamp_(0, 1)
    return result


def likeliest_others(logits: Tensor, y: Tensor, candidates: int) -> Tensor:
    """Return the classes other than y (n, candidates - 1) of the largest logits (n, classes), or all of them."""
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.topk(min(candidates, logits.shape[1]) - 1, dim=1).indices


def drop_fooled(active: ActiveSamples, fooled: Tensor, result: AttackResult, step: int) -> ActiveSamples:
    """Record the samples that are fooled at this step, and return the others."""
    done = active.select(fooled)
    result.x_adv[done.number] = done.x_adv
    result.first_success_step[done.number] = step
    return active.select(~fooled)


def nearest_boundary(model: Model, active: ActiveSamples, norm: str) -> tuple[Tensor, Tensor]:
    """Return the distance (n,) to each sample's nearest linearised boundary, and the gradient of the margin to it.

    Both are 0 where no margin has a gradient.
    """
    with torch.enable_grad():
        x_adv = active.x_adv.detach().requires_grad_()
        margins = target_margins(model(x_adv), active.y, active.targets)
    nearest, nearest_gradient = margins.new_full((len(x_adv),), torch.inf), torch.zeros_like(x_adv)
    last = margins.shape[1] - 1
    for number, column in enumerate(torch.eye(last + 1, dtype=margins.dtype, device=margins.device)):
        (gradient,) = torch.autograd.grad(margins, x_adv, column.expand_as(margins), retain_graph=number < last)
        distance = margins.detach()[:, number].abs() / lp_norm(gradient, DUAL_NORM[norm])
        # the distance is infinite without a gradient, and a comparison with NaN is false
        nearer = distance < nearest
        nearest = torch.where(nearer, distance, nearest)
        nearest_gradient = torch.where(per_sample(nearer, gradient), gradient, nearest_gradient)
    return torch.where(nearest.isfinite(), nearest, 0), nearest_gradient


def shortest_step(gradient: Tensor, distance: Tensor, norm: str) -> Tensor:
    """Return the shortest step that changes a linear function by `distance` (n,) times the gradient's dual norm."""
    if norm == "linf":
        return per_sample(distance, gradient) * gradient.sign()
    return per_sample(distance / lp_norm(gradient, norm).clamp_min(1e-30), gradient) * gradient
