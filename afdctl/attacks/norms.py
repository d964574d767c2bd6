"""Norms, projections, steepest steps and random starts, for balls B(x, epsilon) in [0, 1].

`norm` is "linf", "l2" or "l1"; "l0", the number of changed values, has a norm and a projection only. Images are x
(n, c, h, w).
"""

from typing import Final

import torch
from torch import Generator, Tensor

from afdctl.attacks.sample_rng import SampleRNG

# share of epsilon by which rounding may leave an image outside the ball; an evaluation accepts twice as much
TOLERANCE: Final = 5e-6
# smallest norm that anything is divided by
MIN_NORM: Final = 1e-12
# squares of gradients outside this range underflow or overflow in float32
MIN_GRADIENT, MAX_GRADIENT = 1e-12, 1e12


def per_sample(values: Tensor, x: Tensor) -> Tensor:
    """Reshape values (n,) to broadcast over x (n, ...)."""
    return values.view(-1, *[1] * (x.dim() - 1))


def lp_norm(delta: Tensor, norm: str) -> Tensor:
    """Return the norm (n,) of each sample of delta (n, ...)."""
    pixels = delta.flatten(1)
    if norm == "linf":
        return pixels.abs().amax(1)
    if norm == "l0":
        return (pixels != 0).sum(1).to(delta.dtype)
    return pixels.abs().sum(1) if norm == "l1" else pixels.square().sum(1).sqrt()


def project(x_adv: Tensor, x: Tensor, epsilon: float, norm: str) -> Tensor:
    """Cut the perturbation to epsilon (linf) or scale it down to epsilon (l2, l1), then clip to [0, 1].

    In l0 the largest changes are kept.

    The order of the roundings is that of foolbox 3.3.4, which the published robustness curves were measured with.
    """
    delta = x_adv - x
    if norm == "l0":
        sizes = delta.flatten(1).abs()
        smaller = sizes.argsort(1, descending=True)[:, int(min(epsilon, sizes.shape[1])) :]
        return torch.where(torch.ones_like(sizes).scatter(1, smaller, 0).view_as(x) > 0, x_adv, x).clamp(0, 1)
    if norm == "linf":
        delta.clamp_(-epsilon, epsilon)
    else:
        delta *= per_sample((epsilon / lp_norm(delta, norm).clamp_min(MIN_NORM)).clamp_max(1), delta)
    return fix_rounding(delta.add_(x).clamp_(0, 1), x, epsilon, norm)


def clip_to_ball(x_adv: Tensor, x: Tensor, epsilon: float, norm: str) -> Tensor:
    """Return a copy of x_adv in which only pixels and samples outside [0, 1] and the ball change; NaN becomes x.

    Unlike `project` it keeps the bits of a sample inside, so that a verification classifies what the attack found.
    """
    x_adv = torch.where(x_adv.isnan(), x, x_adv).clamp_(0, 1)
    outside = lp_norm(x_adv - x, norm) > epsilon * (1 + TOLERANCE)
    return torch.where(per_sample(outside, x), project(x_adv, x, epsilon, norm), x_adv)


def fix_rounding(x_adv: Tensor, x: Tensor, epsilon: float, norm: str) -> Tensor:
    """Move the pixels of samples that rounding left outside the ball by one float towards x."""
    # x + delta rounds by at most half the gap between floats below 1, which most balls are too large to notice
    pixels = x.shape[1:].numel()
    if torch.finfo(x.dtype).eps / 4 * {"linf": 1, "l2": pixels**0.5, "l1": pixels}[norm] < TOLERANCE * epsilon:
        return x_adv
    outside = lp_norm(x_adv - x, norm) > epsilon * (1 + TOLERANCE)
    return torch.where(per_sample(outside, x), torch.nextafter(x_adv, x), x_adv)


def steepest_direction(gradient: Tensor, norm: str) -> Tensor:
    """Return the gradient's signs (linf), or the gradient scaled to length 1; 0 where the gradient is 0.

    The l1 direction is dense, as in foolbox, although a step along the largest pixel alone would be steeper.
    """
    if norm == "linf":
        return gradient.sign()
    largest = gradient.flatten(1).abs().amax(1)
    # a confident model's gradient is so small that its squares underflow; a power of two changes no bit of the result
    factor = torch.where(largest < MIN_GRADIENT, 2.0**80, torch.where(largest > MAX_GRADIENT, 2.0**-80, 1.0))
    gradient = gradient * per_sample(factor.to(gradient.dtype), gradient)
    return gradient * per_sample(1 / lp_norm(gradient, norm).clamp_min(MIN_NORM), gradient)


def random_in_ball(x: Tensor, epsilon: float, norm: str, rng: Generator | SampleRNG) -> Tensor:
    """Draw points uniformly from the ball, clipped to [0, 1]."""
    if norm == "linf":
        delta = epsilon * (2 * _uniform(x, rng) - 1)
    elif norm == "l1":
        delta = epsilon * _uniform_in_l1_ball(x, rng)
    else:
        # the share of the volume within radius r grows with r to the power of the dimension
        share = _uniform(x.flatten(1)[:, 0], rng)
        radius = epsilon * share.pow(1 / x.shape[1:].numel())
        delta = _direction(x, norm, per_sample(radius, x), rng)
    return fix_rounding((x + delta).clamp_(0, 1), x, epsilon, norm)


def random_on_sphere(x: Tensor, epsilon: float, norm: str, rng: Generator | SampleRNG) -> Tensor:
    """Draw directions and scale them to the ball's boundary, clipped to [0, 1]; AutoAttack starts there."""
    return fix_rounding((x + _direction(x, norm, epsilon, rng)).clamp_(0, 1), x, epsilon, norm)


def _direction(x: Tensor, norm: str, length: float | Tensor, rng: Generator | SampleRNG) -> Tensor:
    """Draw uniform (linf) or normal numbers in the shape of x, scaled to a norm of `length`."""
    delta = 2 * _uniform(x, rng) - 1 if norm == "linf" else _normal(x, rng)
    return length * delta / per_sample(lp_norm(delta, norm).clamp_min(MIN_NORM), x)


def _uniform_in_l1_ball(x: Tensor, rng: Generator | SampleRNG) -> Tensor:
    """Draw uniformly from the l1 ball of radius 1: gaps between sorted uniform numbers, with random signs."""
    cuts = _uniform(x, rng).flatten(1).sort(1).values
    gaps = torch.diff(cuts, dim=1, prepend=torch.zeros_like(cuts[:, :1])).view_as(x)
    return torch.where(_uniform(x, rng) < 0.5, -gaps, gaps)


def _uniform(like: Tensor, rng: Generator | SampleRNG) -> Tensor:
    if isinstance(rng, SampleRNG):
        return rng.uniform(like)
    return torch.rand(like.shape, generator=rng, device=like.device, dtype=like.dtype)


def _normal(like: Tensor, rng: Generator | SampleRNG) -> Tensor:
    if isinstance(rng, SampleRNG):
        return rng.normal(like)
    return torch.randn(like.shape, generator=rng, device=like.device, dtype=like.dtype)
