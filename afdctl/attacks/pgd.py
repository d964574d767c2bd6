"""PGD, projected gradient descent (Madry et al. 2018, arXiv:1706.06083), for evaluation and for training.

Both run the same loop and steps. An evaluation stops at the first success, a training takes all steps.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor

from afdctl.attacks.base import AttackResult, Loss, Model, cross_entropy_per_sample
from afdctl.attacks.gradient_loop import SteepestStep, StepRule, run_gradient_attack, step_length, with_restarts
from afdctl.attacks.norms import project, random_in_ball
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.attacks.sparse_l1 import SparseStep
from afdctl.losses import kl_divergence, squared_distance

# standard deviation of the start's noise in the code of TRADES
TRADES_NOISE = 0.001


def pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    epsilon: float,
    rng: SampleRNG,
    steps: int,
    step_size: float | None = None,
    rel_step: float | None = None,
    random_start: bool = True,
    restarts: int = 1,
    early_stop: bool = True,
    eot: int = 1,
) -> AttackResult:
    """Attack x (n, c, h, w) with `steps` steps of `step_size`, or of `rel_step` epsilon (evaluation).

    The gradient is the mean of `eot` passes.
    """
    step_rule = SteepestStep(norm, epsilon, step_length(epsilon, steps, step_size, rel_step))

    def run(x: Tensor, y: Tensor, rng: SampleRNG) -> tuple[AttackResult, Tensor]:
        start = random_in_ball(x, epsilon, norm, rng) if random_start else x
        return run_gradient_attack(model, x, y, start, step_rule, steps=steps, early_stop=early_stop, eot=eot)

    # from x itself every restart would be the same
    return with_restarts(run, x, y, rng, restarts=restarts if random_start else 1, steps=steps)


pgd_linf = partial(pgd, norm="linf")
pgd_l2 = partial(pgd, norm="l2")
pgd_l1 = partial(pgd, norm="l1")


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
    return_iterate: str = "best_loss",
    generator: Generator,
) -> Tensor:
    """Return x' (n, c, h, w) of PGD on cross-entropy, from a uniform point of the ball or from x (training)."""
    start = random_in_ball(x, epsilon, norm, generator) if random_start else x
    step_rule = training_step(norm, epsilon, step_length(epsilon, steps, step_size))
    return _all_steps(model, x, y, start, step_rule, steps, return_iterate, cross_entropy_per_sample)


def pgd_divergence(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    divergence: Callable[[Tensor, Tensor], Tensor],
    norm: str,
    epsilon: float,
    steps: int,
    step_size: float | None = None,
    random_start: bool = True,
    return_iterate: str = "best_loss",
    generator: Generator,
) -> Tensor:
    """Return x' (n, c, h, w) of PGD on a divergence of two logits, those of x and of x', from x plus noise (training).

    Source: Zhang et al. 2019, arXiv:1901.08573.
    """
    with torch.no_grad():
        logits_nat = model(x)
    start = x
    # a divergence has no gradient at x itself
    if random_start:
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        start = project(x + TRADES_NOISE * noise, x, epsilon, norm)

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        return divergence(logits_nat, logits)

    step_rule = training_step(norm, epsilon, step_length(epsilon, steps, step_size))
    return _all_steps(model, x, y, start, step_rule, steps, return_iterate, loss)


# the adversaries of TRADES and of SCORE
pgd_kl = partial(pgd_divergence, divergence=kl_divergence)
pgd_lse = partial(pgd_divergence, divergence=squared_distance)


def training_step(norm: str, epsilon: float, step_size: float) -> StepRule:
    """Return the step rule of a training: the steepest step, in l1 a sparse one with the exact projection."""
    return SparseStep(epsilon, step_size) if norm == "l1" else SteepestStep(norm, epsilon, step_size)


def _all_steps(
    model: Model,
    x: Tensor,
    y: Tensor,
    start: Tensor,
    step_rule: StepRule,
    steps: int,
    return_iterate: str,
    loss: Loss,
) -> Tensor:
    # nothing depends on the logits of a last iterate that is x' in any case; AT takes 23 passes, not 24, with PGD-10
    judge_last = return_iterate != "last"
    result, _ = run_gradient_attack(
        model,
        x,
        y,
        start,
        step_rule,
        steps=steps,
        early_stop=False,
        loss=loss,
        return_iterate=return_iterate,
        judge_last=judge_last,
    )
    return result.x_adv
