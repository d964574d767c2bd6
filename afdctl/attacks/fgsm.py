"""The fast gradient sign method (Goodfellow et al. 2015)."""

from torch import Tensor

from afdctl.attacks.base import AttackResult, Model
from afdctl.attacks.gradient_loop import SteepestStep, run_gradient_attack, starting_point
from afdctl.attacks.sample_rng import SampleRNG


def fgsm(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    draws: SampleRNG,
    norm: str = "linf",
    random_start: bool = False,
) -> AttackResult:
    """x' = x + epsilon sign(grad CE) for x (n, c, h, w): the end of the step, whether or not its start fools."""
    start = starting_point(x, epsilon, norm, draws, random_start)
    found, _ = run_gradient_attack(model, x, y, start, SteepestStep(norm, epsilon, epsilon), steps=1, early_stop=False)
    return found
