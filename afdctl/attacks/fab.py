"""FAB-T (Croce & Hein 2020): its library's steps, towards several classes at once where few samples are left."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor
from torch.linalg import vecdot

from afdctl.attacks.base import NOT_FOUND, AttackResult, Model, is_misclassified, per_sample
from afdctl.attacks.norms import lp_norm
from afdctl.attacks.query_counter import CountingModel, library

OVERSHOOT: Final = 1.05
BACKWARD: Final = 0.9
MOST_OF_X: Final = 0.1
"""eta, beta and alpha_max of the paper."""


@dataclass
class FABResult:
    """What one run found: x_adv (n, c, h, w), the nearest that fools the model; its distance (n,), infinite where none
    does; and the step at which the first did (n,)."""

    x_adv: Tensor
    distance: Tensor
    first: Tensor

    def part(self, rows: slice) -> Self:
        """Some of the samples."""
        return type(self)(self.x_adv[rows], self.distance[rows], self.first[rows])


def nearest(
    model: Model, x: Tensor, y: Tensor, *, norm: str, steps: int, targets: int, at_once: int, enough: float = 0
) -> AttackResult:
    """The nearest x' of runs towards the likeliest `targets` other classes; one within `enough` ends a sample's search.

    Few samples run towards several classes together, as long as the model sees no more than `at_once` images.
    """
    watched = CountingModel(model, x, y)
    order, ranks = watched.logits.argsort(dim=1), watched.ranks(targets)
    distance = torch.full((len(x),), torch.inf, device=x.device)
    tried = 0
    while tried < len(ranks) and len(rows := (watched.right & (distance > enough)).nonzero()[:, 0]):
        together = ranks[tried : tried + max(1, at_once // len(rows))]
        target = torch.cat([order[rows, -rank] for rank in together])
        every = rows.repeat(len(together))
        run = towards(watched.unseen, watched.x[every], watched.y[every], target, norm=norm, steps=steps)
        for number in range(len(together)):
            one = run.part(slice(number * len(rows), (number + 1) * len(rows)))
            closer = (one.distance < distance[rows]) & (distance[rows] > enough)
            watched.replace(rows[closer], one.x_adv[closer], (one.first + (tried + number) * steps)[closer])
            distance[rows] = torch.where(closer, one.distance, distance[rows])
        watched.spend(every, forwards=2 * steps, backwards=steps)
        tried += len(together)
    found = watched.verified()
    found.x_adv = torch.where(per_sample(found.fooled, x), found.x_adv, watched.x)
    return found


def towards(model: Model, x: Tensor, y: Tensor, target: Tensor, *, norm: str, steps: int) -> FABResult:
    """One run for samples x (n, c, h, w), y (n,) towards the classes `target` (n,)."""
    found = FABResult(x.clone(), torch.full((len(x),), torch.inf, device=x.device), torch.full_like(y, NOT_FOUND))
    x_adv = x
    for step in range(1, steps + 1):
        gap, gradient = slope(model, x_adv, y, target)
        # onto the plane where both classes tie, as seen from here, both from here and from x
        weight, offset = gradient.flatten(1), (gradient * x_adv).flatten(1).sum(1) - gap
        flat = torch.cat((x_adv.flatten(1), x.flatten(1)))
        moves = projection(norm)(flat, weight.repeat(2, 1), offset.repeat(2))
        lengths = lp_norm(moves, norm).clamp_min(1e-8)
        ahead, back = moves.view(2, *x.shape)
        share = per_sample((lengths[: len(x)] / (lengths[: len(x)] + lengths[len(x) :])).clamp(0, MOST_OF_X), x)
        x_adv = ((x_adv + OVERSHOOT * ahead) * (1 - share) + (x + back * OVERSHOOT) * share).clamp(0, 1)

        with torch.no_grad():
            fooled = is_misclassified(model(x_adv), y)
        distance = lp_norm(x_adv - x, norm)
        nearer = fooled & (distance < found.distance)
        found.x_adv = torch.where(per_sample(nearer, x), x_adv, found.x_adv)
        found.distance = torch.where(nearer, distance, found.distance)
        found.first = torch.where(fooled & (found.first == NOT_FOUND), step, found.first)
        x_adv = torch.where(per_sample(fooled, x), x + (x_adv - x) * BACKWARD, x_adv)
    return found


def slope(model: Model, x: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """How far the target's logit is above the label's (n,), and the gradient of that in x; 0 where a model has none."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        gap = (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None]))[:, 0]
        if not gap.requires_grad:
            return gap, torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(gap.sum(), x, allow_unused=True, materialize_grads=True)
    return gap.detach(), gradient


def projection(norm: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The smallest step in a norm from points in [0, 1] onto planes."""
    if norm == "linf":
        return projection_linf
    theirs: Callable[[Tensor, Tensor, Tensor], Tensor] = getattr(library("fab_projections"), f"projection_{norm}")
    return theirs


def projection_linf(x: Tensor, weight: Tensor, offset: Tensor) -> Tensor:
    """The smallest step d (n, m) that takes x (n, m) in [0, 1] onto weight . (x + d) = offset (n,) and keeps it there.

    Where the box does not reach the plane, d goes into the corner nearest to it. Coordinates move alike, by a radius,
    until they meet the box; of the rooms that they have, those larger than the radius decide it. The library sorts the
    rooms for that; Newton's method, on a function that is convex and falls in straight pieces, climbs to the same set
    in a few passes. Sums are taken in float64, as the library's are, so that the step agrees with it bit by bit.
    """
    # from now on the step has to lower weight . x
    sign = 2 * ((weight * x).sum(1) - offset >= 0) - 1
    weight, offset = weight * sign[:, None], offset * sign
    up = (weight < 0).float()
    moves = (weight != 0).float()
    corner = (up - x) * moves
    room = up - x * (2 * up - 1)
    offset = offset - (weight * x).sum(1)
    lowest = (weight * corner).sum(1)
    reached = offset - lowest > 0
    radius = _radius(weight.abs(), room, lowest, offset)
    inside = torch.minimum(radius, corner) * up + torch.maximum(-radius, corner) * (1 - up)
    return torch.where(reached[:, None], inside, corner) * moves


def _radius(weight: Tensor, room: Tensor, lowest: Tensor, offset: Tensor) -> Tensor:
    """The r (n, 1) at which lowest + sum of weight max(room - r, 0), over coordinates, falls to the offset."""
    # all but Apple's devices have float64
    exact = torch.float32 if weight.device.type == "mps" else torch.float64
    held, weight = (weight * room).to(exact), weight.to(exact)
    free = torch.ones_like(weight, dtype=torch.bool)
    while True:
        chosen = free.to(exact)
        slope, value = vecdot(weight, chosen).float(), vecdot(held, chosen).float()
        radius: Tensor = ((offset - (value + lowest)) / -slope).clamp_min(0)[:, None]
        fewer = (room > radius) & free
        if torch.equal(fewer, free):
            return radius
        free = fewer
