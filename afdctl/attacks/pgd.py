"""Projected gradient descent (Madry et al. 2018) in L-infinity and L2, on cross-entropy or on TRADES' KL term."""

from functools import partial

import torch
from torch import Generator, Tensor

from afdctl.attacks.base import AttackResult, IterateTracker, Model, Objective, cross_entropy_of, loss_and_gradient
from afdctl.attacks.gradient_loop import SteepestStep, run_gradient_attack, starting_point, step_length, with_restarts
from afdctl.attacks.norms import ascent_direction, projector, random_in_ball
from afdctl.attacks.sample_rng import SampleRNG
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
    kept = IterateTracker(keep, x, y)
    project = projector(x, epsilon, norm)
    x_adv = start
    for _ in range(steps):
        logits, losses, gradient = loss_and_gradient(model, objective, x_adv)
        kept.offer(x_adv, logits, losses)
        x_adv = project(x_adv + step_size * ascent_direction(gradient, norm))
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
    start = random_in_ball(x, epsilon, norm, generator) if random_start else x
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
        start = projector(x, epsilon, norm)(x + 0.001 * noise)

    def objective(logits: Tensor) -> Tensor:
        return kl_divergence(natural, logits)

    return pgd(model, objective, x, start, y, norm=norm, epsilon=epsilon, steps=steps, step_size=step_size, keep=keep)


def run_pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    epsilon: float,
    draws: SampleRNG,
    steps: int,
    step_size: float | None = None,
    rel_step: float | None = None,
    random_start: bool = True,
    restarts: int = 1,
    early_stop: bool = True,
) -> AttackResult:
    """x' (n, c, h, w) after `steps` steps of `step_size`, or of `rel_step` epsilon (Madry et al. 2018)."""
    move = SteepestStep(norm, epsilon, step_length(epsilon, steps, step_size, rel_step))

    def run(x: Tensor, y: Tensor, draws: SampleRNG) -> tuple[AttackResult, Tensor]:
        start = starting_point(x, epsilon, norm, draws, random_start)
        return run_gradient_attack(model, x, y, start, move, steps=steps, early_stop=early_stop)

    # from x itself every restart would be the same
    return with_restarts(run, x, y, draws, restarts=restarts if random_start else 1, steps=steps)


pgd_linf = partial(run_pgd, norm="linf")
pgd_l2 = partial(run_pgd, norm="l2")
pgd_l1 = partial(run_pgd, norm="l1")
