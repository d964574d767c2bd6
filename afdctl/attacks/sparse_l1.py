"""Steps in l1 along the largest components of the gradient (Croce & Hein 2021, arXiv:2103.01208).

In l1 the steepest step moves one pixel, and the intersection of the ball with [0, 1] differs much from the ball. A step
along a share of the pixels with an exact projection onto the intersection makes progress in few steps; dense steps with
a radial projection hardly do.
"""

from typing import Final

import torch
from torch import Tensor

from afdctl.attacks.norms import project

# share of the pixels that a training's steps move: where the authors' adversarial training starts
TRAINING_SHARE: Final = 0.05


def sparse_direction(gradient: Tensor, share: Tensor) -> Tensor:
    """Return the signs of the largest components, a `share` (n,) of all, scaled to an l1 norm of 1; 0 where it is 0."""
    sizes = gradient.flatten(1).abs()
    pixels = sizes.shape[1]
    # the last of the components that are kept, at least one
    ranks = (share * pixels).long().clamp(1, pixels) - 1
    smallest = sizes.sort(1, descending=True).values.gather(1, ranks[:, None])
    signs = torch.where(sizes >= smallest, gradient.flatten(1).sign(), 0)
    return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)


def project_exactly(x_adv: Tensor, x: Tensor, epsilon: float) -> Tensor:
    """Return the nearest point, in l2, of the l1 ball around x within [0, 1] (Proposition 2.1 of the paper).

    Each component of x' - x shrinks by the same amount, but not below 0, and not above what [0, 1] leaves room for.
    """
    delta = (x_adv - x).flatten(1)
    size = delta.abs()
    room = torch.where(delta > 0, 1 - x.flatten(1), x.flatten(1))
    # shrunk by s, a component is (size - s)+ - (size - room - s)+, so their sum is linear between these breakpoints
    breakpoints, order = torch.cat([size, (size - room).clamp_min(0)], 1).sort(1, descending=True)
    weights = torch.where(order < size.shape[1], 1.0, -1.0).to(x.dtype)
    counts, sums = weights.cumsum(1), (weights * breakpoints).cumsum(1)
    # the first breakpoint at which the sum exceeds epsilon: the solution is above it
    crossed = sums - breakpoints * counts > epsilon
    segment = (crossed.long().argmax(1, keepdim=True) - 1).clamp_min(0)
    shrink = (sums.gather(1, segment) - epsilon) / counts.gather(1, segment).clamp_min(1)
    # without a crossing the point is in the ball, and only [0, 1] matters
    shrink = torch.where(crossed.any(1, keepdim=True), shrink, 0).clamp_min(0)
    length = torch.minimum((size - shrink).clamp_min(0), room)
    # rounding only: the radial projection does not leave [0, 1]
    return project(x + (delta.sign() * length).view_as(x), x, epsilon, "l1")


class SparseStep:
    """x_adv <- project_exactly(x_adv + step_size * sparse_direction(gradient)), a step rule for `gradient_loop`."""

    needs_gradient = True

    def __init__(self, epsilon: float, step_size: float) -> None:
        self.epsilon, self.step_size = epsilon, step_size

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        share = torch.full_like(gradient.flatten(1)[:, 0], TRAINING_SHARE)
        return project_exactly(x_adv + self.step_size * sparse_direction(gradient, share), x, self.epsilon)

    def select(self, mask: Tensor) -> None:
        """Do nothing, as there is no state."""
