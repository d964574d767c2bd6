"""Square (Andriushchenko et al. 2020) in L-infinity: its library's search, step for step, on who is left."""

from bisect import bisect_left
from math import sqrt
from typing import Final

import torch
from torch import Tensor

from afdctl.attacks.iterate import Model, per_sample

HALVINGS: Final = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which the square's area halves."""

AREA: Final = 0.8
"""Of the first squares, as a share of the image's."""


def search_linf(model: Model, x: Tensor, y: Tensor, *, epsilon: float, queries: int) -> tuple[Tensor, Tensor]:
    """Queries that each sample took (n,), the start's too, and where it ended (n, c, h, w).

    It starts with stripes. A query moves a square of every image to one end of the ball or the other, the same for all
    images, and keeps that where the margin falls. A sample is done once its margin, which a NaN never lowers, is not
    above 0. Draws come from torch's global generator.
    """
    channels, height, width = x.shape[1:]
    low, high = (x - epsilon).clamp_min(0), (x + epsilon).clamp_max(1)
    end = torch.minimum(torch.maximum(x + epsilon * signs(len(x), channels, 1, width, like=x), low), high)
    taken = torch.ones_like(y)
    margin = margins(model(end), y)
    left = torch.arange(len(x), device=x.device)
    best = end.clone()
    for query in range(queries):
        standing = margin > 0
        if not standing.all():
            end[left], taken[left] = best, query + 1
            left, best, low, high, y, margin = (rows[standing] for rows in (left, best, low, high, y, margin))
        if not len(left):
            break
        side = square_side(query, height, width)
        top, across = (place(room) for room in (height - side, width - side))
        window = (slice(None), slice(None), slice(top, top + side), slice(across, across + side))
        jump = 2 * epsilon * signs(1, channels, 1, 1, like=x)
        trial = best.clone()
        trial[window] = torch.minimum(torch.maximum(best[window] + jump, low[window]), high[window])
        reached = margins(model(trial), y)
        better = reached < margin
        margin = torch.where(better, reached, margin)
        best[window] = torch.where(per_sample(better, best), trial[window], best[window])
    end[left], taken[left] = best, queries + 1
    return taken, end


def square_side(query: int, height: int, width: int) -> int:
    """The side of a query's square, in pixels."""
    area = AREA / 2 ** bisect_left(HALVINGS, query) * height * width
    return min(max(round(sqrt(area)), 1), height, width)


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """How far each label's logit is above the others (n,)."""
    label = y[:, None]
    return logits.gather(1, label)[:, 0] - logits.scatter(1, label, -torch.inf).amax(1)


def signs(*shape: int, like: Tensor) -> Tensor:
    """Random signs in a shape."""
    return torch.sign(2 * torch.rand(shape).to(like) - 1)


def place(room: int) -> int:
    """A random whole number below `room`, or 0."""
    return int(room * torch.rand(1))
