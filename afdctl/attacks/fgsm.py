"""FGSM, the fast gradient sign method (Goodfellow et al. 2015, arXiv:1412.6572)."""

from torch import Tensor

from afdctl.attacks.base import AttackResult, Model
from afdctl.attacks.gradient_loop import SteepestStep, run_gradient_attack
from afdctl.attacks.norms import random_in_ball
from afdctl.attacks.sample_rng import SampleRNG


def fgsm(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    rng: SampleRNG,
    norm: str = "linf",
    random_start: bool = False,
) -> AttackResult:
    """Return x' = x + epsilon sign(grad CE) for x (n, c, h, w).

    A sample takes the step also where its start already fools the model.
    """
    start = random_in_ball(x, epsilon, norm, rng) if random_start else x
    step_rule = SteepestStep(norm, epsilon, epsilon)
    result, _ = run_gradient_attack(model, x, y, start, step_rule, steps=1, early_stop=False)
    return result
