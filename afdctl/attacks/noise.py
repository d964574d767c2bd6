"""Random noise at the ball's boundary, the baseline that every attack must beat; masked gradients do not stop it."""

import torch
from torch import Tensor

from afdctl.attacks.base import NOT_FOUND, AttackResult, Model
from afdctl.attacks.gradient_loop import run_gradient_attack
from afdctl.attacks.norms import fix_rounding, random_on_sphere
from afdctl.attacks.sample_rng import SampleRNG


def noise(
    model: Model, x: Tensor, y: Tensor, *, epsilon: float, rng: SampleRNG, norm: str = "linf", samples: int
) -> AttackResult:
    """Return the first of `samples` draws x' (n, c, h, w) that fools the model.

    A draw adds or subtracts epsilon in each pixel (linf), or has a random direction and length epsilon (l2).
    """
    draw = RandomDraw(norm, epsilon, rng)
    result, _ = run_gradient_attack(model, x, y, draw(x, x, x), draw, steps=samples - 1, early_stop=True)
    # the loop counts steps from its start, which is the first draw here
    result.first_success_step = torch.where(result.fooled, result.first_success_step + 1, NOT_FOUND)
    return result


class RandomDraw:
    """A step rule that draws around x, wherever the last draw was."""

    needs_gradient = False

    def __init__(self, norm: str, epsilon: float, rng: SampleRNG) -> None:
        self.norm, self.epsilon, self.rng = norm, epsilon, rng

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        if self.norm == "l2":
            return random_on_sphere(x, self.epsilon, self.norm, self.rng)
        corner = torch.where(self.rng.uniform(x) < 0.5, x - self.epsilon, x + self.epsilon).clamp_(0, 1)
        return fix_rounding(corner, x, self.epsilon, self.norm)

    def select(self, mask: Tensor) -> None:
        """Drop the generators of samples outside the mask (n,)."""
        self.rng = self.rng.select(mask)
