"""The nearest point of a hyperplane inside [0, 1], in L-infinity: FAB's projection without its sort."""

import torch
from torch import Tensor
from torch.linalg import vecdot


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
