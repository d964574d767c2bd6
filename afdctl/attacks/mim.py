"""The momentum iterative method (Dong et al. 2018), as AdverTorch writes it; foolbox adds up gradients' signs."""

from torch import Tensor

from afdctl.attacks.base import AttackResult, Model
from afdctl.attacks.gradient_loop import MomentumStep, run_gradient_attack, step_length
from afdctl.attacks.sample_rng import SampleRNG


def mim(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    draws: SampleRNG,
    norm: str = "linf",
    steps: int,
    step_size: float | None = None,
    rel_step: float | None = None,
    decay: float = 1.0,
    early_stop: bool = True,
) -> AttackResult:
    """x' (n, c, h, w) after `steps` steps along sign(g), g <- decay g + gradient / ||gradient||_1; it draws nothing."""
    move = MomentumStep(norm, epsilon, step_length(epsilon, steps, step_size, rel_step), decay, x)
    found, _ = run_gradient_attack(model, x, y, x, move, steps=steps, early_stop=early_stop)
    return found
