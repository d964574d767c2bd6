"""The ball B(x, epsilon) in [0, 1]: where an attack starts, how it steps, and how it gets back inside."""

import torch
from torch import Generator, Tensor


def norm(delta: Tensor) -> Tensor:
    """L2 norm of each sample of delta (n, ...), shaped (n, 1, ..., 1)."""
    lengths: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    return lengths.view(-1, *[1] * (delta.dim() - 1))


def project(x_adv: Tensor, x: Tensor, epsilon: float, kind: str) -> Tensor:
    """The point of the ball near x_adv, clipped to [0, 1]."""
    if kind == "linf":
        return torch.minimum(torch.maximum(x_adv, x - epsilon), x + epsilon).clamp_(0, 1)
    delta = x_adv - x
    return (x + delta * (epsilon / norm(delta).clamp_min(1e-12)).clamp_max(1)).clamp_(0, 1)


def ascent(gradient: Tensor, kind: str) -> Tensor:
    """The direction of length 1, in the norm of the ball, in which the loss rises fastest; 0 where the gradient is."""
    if kind == "linf":
        return gradient.sign()
    return gradient / norm(gradient).clamp_min(1e-12)


def uniform_start(x: Tensor, epsilon: float, kind: str, generator: Generator) -> Tensor:
    """A point drawn uniformly from the ball, clipped to [0, 1]."""
    if kind == "linf":
        return (x + epsilon * (2 * _uniform(x, generator) - 1)).clamp_(0, 1)
    return boundary_start(x, epsilon * _radius(x, generator), kind, generator)


def boundary_start(x: Tensor, epsilon: float | Tensor, kind: str, generator: Generator) -> Tensor:
    """A random direction scaled to touch the ball's boundary, clipped to [0, 1]: AutoAttack's start."""
    if kind == "linf":
        delta = 2 * _uniform(x, generator) - 1
        length = delta.flatten(1).abs().amax(1).view(-1, *[1] * (x.dim() - 1))
    else:
        delta = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        length = norm(delta)
    return (x + epsilon * delta / (length + 1e-12)).clamp_(0, 1)


def _uniform(x: Tensor, generator: Generator) -> Tensor:
    return torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def _radius(x: Tensor, generator: Generator) -> Tensor:
    """Radii in [0, 1] of points that are uniform in an L2 ball of x's dimension, shaped (n, 1, ..., 1)."""
    u = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
    return u.pow(1 / x[0].numel()).view(-1, *[1] * (x.dim() - 1))
