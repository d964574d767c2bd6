"""The ball B(x, epsilon) in [0, 1]: where an attack starts, how it steps, and how it gets back inside."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from afdctl.attacks.sample_rng import SampleRNG

TOLERANCE = 5e-6
"""How far outside the ball, as a share of epsilon, rounding may leave an image: half of what an evaluation accepts."""


def lp_norm(delta: Tensor, kind: str) -> Tensor:
    """The norm (n,) of each sample of delta (n, ...)."""
    pixels = delta.flatten(1)
    if kind == "linf":
        return pixels.abs().amax(1)
    return pixels.abs().sum(1) if kind == "l1" else pixels.square().sum(1).sqrt()


def fix_rounding(x_adv: Tensor, x: Tensor, epsilon: float, kind: str) -> Tensor:
    """x_adv, whose pixels go one float nearer to x where the sum x + delta was rounded out of the ball."""
    # a pixel is off by at most half the distance of two floats below 1: most balls are too large to notice
    pixels = x.shape[1:].numel()
    if torch.finfo(x.dtype).eps / 4 * {"linf": 1, "l2": pixels**0.5, "l1": pixels}[kind] < TOLERANCE * epsilon:
        return x_adv
    outside = lp_norm(x_adv - x, kind) > epsilon * (1 + TOLERANCE)
    return torch.where(outside.view(-1, *[1] * (x.dim() - 1)), torch.nextafter(x_adv, x), x_adv)


def clip_to_ball(x_adv: Tensor, x: Tensor, epsilon: float, kind: str) -> Tensor:
    """A copy of x_adv in [0, 1] and in the ball, on the line to x in L2 and L1; what is not a number becomes x."""
    x_adv = torch.where(x_adv.isnan(), x, x_adv).clamp(0, 1)
    if kind == "linf":
        return torch.minimum(torch.maximum(x_adv, x - epsilon), x + epsilon).clamp(0, 1)
    delta = x_adv - x
    lengths = lp_norm(delta, kind)
    scale = torch.where(lengths > epsilon * (1 + TOLERANCE), epsilon / lengths.clamp_min(1e-30), 1.0)
    # towards x, which is in the box, so the box still holds
    return x + delta * scale.view(-1, *[1] * (x.dim() - 1))


def l2_norm(delta: Tensor) -> Tensor:
    """L2 norm of each sample of delta (n, ...), shaped (n, 1, ..., 1)."""
    lengths: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    return lengths.view(-1, *[1] * (delta.dim() - 1))


def projector(x: Tensor, epsilon: float, kind: str) -> Callable[[Tensor], Tensor]:
    """What takes x_adv to the point of the ball near it, clipped to [0, 1]: made once for all steps of an attack."""
    if kind == "linf":
        low, high = (x - epsilon).clamp_(0, 1), (x + epsilon).clamp_(0, 1)
        return lambda x_adv: x_adv.clamp(low, high)

    def project(x_adv: Tensor) -> Tensor:
        delta = x_adv - x
        return (x + delta * (epsilon / l2_norm(delta).clamp_min(1e-12)).clamp_max(1)).clamp_(0, 1)

    return project


def ascent_direction(gradient: Tensor, kind: str) -> Tensor:
    """The direction of length 1, in the norm of the ball, in which the loss rises fastest; 0 where the gradient is."""
    if kind == "linf":
        return gradient.sign()
    return gradient / l2_norm(gradient).clamp_min(1e-12)


def random_in_ball(x: Tensor, epsilon: float, kind: str, generator: Generator | SampleRNG) -> Tensor:
    """A point drawn uniformly from the ball, clipped to [0, 1]."""
    if kind == "linf":
        return (x + epsilon * (2 * _uniform(x, generator) - 1)).clamp_(0, 1)
    if kind == "l1":
        return (x + epsilon * _spacings(x, generator)).clamp_(0, 1)
    return random_on_sphere(x, epsilon * _radius(x, generator), kind, generator)


def random_on_sphere(x: Tensor, epsilon: float | Tensor, kind: str, generator: Generator | SampleRNG) -> Tensor:
    """A random direction scaled to touch the ball's boundary, clipped to [0, 1]: AutoAttack's start."""
    if kind == "linf":
        delta = 2 * _uniform(x, generator) - 1
        size = delta.flatten(1).abs().amax(1).view(-1, *[1] * (x.dim() - 1))
    else:
        delta = _normal(x, generator)
        size = l2_norm(delta)
    return (x + epsilon * delta / (size + 1e-12)).clamp_(0, 1)


def _uniform(like: Tensor, generator: Generator | SampleRNG) -> Tensor:
    if isinstance(generator, SampleRNG):
        return generator.uniform(like)
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _normal(like: Tensor, generator: Generator | SampleRNG) -> Tensor:
    if isinstance(generator, SampleRNG):
        return generator.normal(like)
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _spacings(x: Tensor, generator: Generator | SampleRNG) -> Tensor:
    """Uniform points of the L1 ball of radius 1: the gaps between sorted uniform numbers, with random signs."""
    cuts = _uniform(x, generator).flatten(1).sort(1).values
    gaps = torch.diff(cuts, dim=1, prepend=torch.zeros_like(cuts[:, :1])).view_as(x)
    return torch.where(_uniform(x, generator) < 0.5, -gaps, gaps)


def _radius(x: Tensor, generator: Generator | SampleRNG) -> Tensor:
    """Radii in [0, 1] of points that are uniform in an L2 ball of x's dimension, shaped (n, 1, ..., 1)."""
    u = _uniform(x.flatten(1)[:, 0], generator)
    return u.pow(1 / x.shape[1:].numel()).view(-1, *[1] * (x.dim() - 1))
