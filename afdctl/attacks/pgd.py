"""Projected gradient descent (Madry et al. 2018) in L-infinity and L2, on cross-entropy or on TRADES' KL term."""

import torch
from torch import Generator, Tensor

from afdctl.attacks.ball import ascent, projection, uniform_start
from afdctl.attacks.iterate import Kept, Model, Objective, ascend, cross_entropy_of
from afdctl.losses import kl_divergence


def pgd(
    model: Model,
    objective: Objective,
    x: Tensor,
    start: Tensor,
    y: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int,
    step_size: float | None,
    keep: str,
) -> Tensor:
    """x' (n, c, h, w) after `steps` steps of `step_size` (2.5 epsilon / steps if None) from `start`."""
    step_size = 2.5 * epsilon / steps if step_size is None else step_size
    kept = Kept(keep, x, y)
    project = projection(x, epsilon, norm)
    x_adv = start
    for _ in range(steps):
        logits, losses, gradient = ascend(model, objective, x_adv)
        kept.offer(x_adv, logits, losses)
        x_adv = project(x_adv + step_size * ascent(gradient, norm))
    with torch.no_grad():
        logits = model(x_adv)
        kept.offer(x_adv, logits, objective(logits))
    return kept.x_adv


def pgd_ce(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int,
    step_size: float | None = None,
    random_start: bool = True,
    keep: str = "worst_loss",
    generator: Generator,
) -> Tensor:
    """PGD on the cross-entropy with y (n,), from a uniform point of the ball or from x."""
    start = uniform_start(x, epsilon, norm, generator) if random_start else x
    objective = cross_entropy_of(y)
    return pgd(model, objective, x, start, y, norm=norm, epsilon=epsilon, steps=steps, step_size=step_size, keep=keep)


def pgd_kl(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int,
    step_size: float | None = None,
    random_start: bool = True,
    keep: str = "worst_loss",
    generator: Generator,
) -> Tensor:
    """PGD on KL(p(x) || p(x')), from x plus noise of deviation 0.001: the adversary of TRADES (Zhang et al. 2019)."""
    with torch.no_grad():
        natural = model(x)
    start = x
    if random_start:
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        start = projection(x, epsilon, norm)(x + 0.001 * noise)

    def objective(logits: Tensor) -> Tensor:
        return kl_divergence(natural, logits)

    return pgd(model, objective, x, start, y, norm=norm, epsilon=epsilon, steps=steps, step_size=step_size, keep=keep)
