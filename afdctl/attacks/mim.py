"""MIM, the momentum iterative method (Dong et al. 2018, arXiv:1710.06081), as in AdverTorch.

foolbox accumulates the gradients' signs instead.
"""

import torch
from torch import Tensor

from afdctl.attacks.base import AttackResult, Model
from afdctl.attacks.gradient_loop import SteepestStep, run_gradient_attack, step_length
from afdctl.attacks.norms import lp_norm, per_sample
from afdctl.attacks.sample_rng import SampleRNG


def mim(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    rng: SampleRNG,
    norm: str = "linf",
    steps: int,
    step_size: float | None = None,
    rel_step: float | None = None,
    decay: float = 1.0,
    early_stop: bool = True,
) -> AttackResult:
    """Attack x (n, c, h, w) with `steps` steps along sign(g), from x itself. Draws no random numbers."""
    length = step_length(epsilon, steps, step_size, rel_step)
    step_rule = MomentumStep(norm=norm, epsilon=epsilon, step_size=length, decay=decay, x=x)
    result, _ = run_gradient_attack(model, x, y, x, step_rule, steps=steps, early_stop=early_stop)
    return result


class MomentumStep(SteepestStep):
    """g <- decay * g + gradient / ||gradient||_1 (Eq. 6), then a step along g."""

    def __init__(self, *, norm: str, epsilon: float, step_size: float, decay: float, x: Tensor) -> None:
        super().__init__(norm, epsilon, step_size)
        self.decay = decay
        self.g = torch.zeros_like(x)

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        # only a gradient of 0 needs the limit: that of a confident model counts in full, however small it is
        size = lp_norm(gradient, "l1").clamp_min(torch.finfo(gradient.dtype).tiny)
        self.g = self.decay * self.g + gradient / per_sample(size, gradient)
        return super().__call__(x, x_adv, self.g)

    def select(self, mask: Tensor) -> None:
        """Drop the momentum of samples outside the mask (n,)."""
        self.g = self.g[mask]
