"""The moves of the gradient attacks: a step of a fixed length, back into the ball, back into the box.

They are those of foolbox 3.3.4, down to the order in which floats are rounded: the published curves were made with it.
"""

import torch
from torch import Tensor

from afdctl.attacks.ball import inside, length, uniform_start
from afdctl.attacks.draws import Draws
from afdctl.attacks.iterate import per_sample

SMALLEST = 1e-12
"""Of a norm that something is divided by."""


def step_length(epsilon: float, steps: int, step_size: float | None, rel_step: float | None) -> float:
    """The absolute step; without either knob 2.5 epsilon / steps, which crosses the ball and 0.5 more."""
    if step_size is not None:
        return step_size
    return (2.5 / steps if rel_step is None else rel_step) * epsilon


def start_of(x: Tensor, epsilon: float, norm: str, draws: Draws, random_start: bool) -> Tensor:
    """A uniform point of the ball, clipped to [0, 1], or x."""
    return inside(uniform_start(x, epsilon, norm, draws), x, epsilon, norm) if random_start else x


def unit(gradient: Tensor, norm: str) -> Tensor:
    """The gradient's signs, or the gradient scaled to length 1: dense in L1 too, though one pixel is steeper."""
    if norm == "linf":
        return gradient.sign()
    size = length(gradient, norm)
    # a confident model's gradient is measured in units of its largest pixel first: its squares underflow
    largest = gradient.flatten(1).abs().amax(1).clamp_min(torch.finfo(gradient.dtype).tiny)
    scaled = gradient / per_sample(largest, gradient)
    scaled = scaled * per_sample(1 / length(scaled, norm).clamp_min(SMALLEST), gradient)
    usual = gradient * per_sample(1 / size.clamp_min(SMALLEST), gradient)
    return torch.where(per_sample(size < SMALLEST, gradient), scaled, usual)


def retract(x_adv: Tensor, x: Tensor, epsilon: float, norm: str) -> Tensor:
    """x plus the perturbation cut to epsilon (Linf) or scaled down to it (L2, L1), clipped to [0, 1]."""
    delta = x_adv - x
    if norm == "linf":
        delta.clamp_(-epsilon, epsilon)
    else:
        delta *= per_sample((epsilon / length(delta, norm).clamp_min(SMALLEST)).clamp_max(1), delta)
    return inside((x + delta).clamp_(0, 1), x, epsilon, norm)


class Steepest:
    """x <- retract(x + step unit(gradient))."""

    needs_gradient = True

    def __init__(self, norm: str, epsilon: float, step: float) -> None:
        self.norm, self.epsilon, self.step = norm, epsilon, step

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        return retract(x_adv + self.step * unit(gradient, self.norm), x, self.epsilon, self.norm)

    def keep(self, mask: Tensor) -> None:
        """Nothing to forget: it remembers nothing."""


class Momentum(Steepest):
    """g <- decay g + gradient / ||gradient||_1, then a step along g."""

    def __init__(self, norm: str, epsilon: float, step: float, decay: float, like: Tensor) -> None:
        super().__init__(norm, epsilon, step)
        self.decay = decay
        self.g = torch.zeros_like(like)

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        # only a gradient of 0 is held back: a sure model's, however small, counts as much as any other
        size = length(gradient, "l1").clamp_min(torch.finfo(gradient.dtype).tiny)
        self.g = self.decay * self.g + gradient / per_sample(size, gradient)
        return super().__call__(x, x_adv, self.g)

    def keep(self, mask: Tensor) -> None:
        """Forget the momentum of the samples outside the mask (n,)."""
        self.g = self.g[mask]
