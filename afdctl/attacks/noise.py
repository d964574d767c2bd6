"""Random noise at the edge of the ball: what an attack must beat, and what no masked gradient stands in the way of."""

import torch
from torch import Tensor

from afdctl.attacks.base import NOT_FOUND, AttackResult, Model
from afdctl.attacks.gradient_loop import run_gradient_attack
from afdctl.attacks.norms import fix_rounding, random_on_sphere
from afdctl.attacks.sample_rng import SampleRNG


def noise(
    model: Model, x: Tensor, y: Tensor, *, epsilon: float, draws: SampleRNG, norm: str = "linf", samples: int
) -> AttackResult:
    """x' (n, c, h, w): the first draw that fools: epsilon up or down in each pixel (Linf), of length epsilon (L2)."""
    move = RandomDraw(norm, epsilon, draws)
    found, _ = run_gradient_attack(model, x, y, move(x, x, x), move, steps=samples - 1, early_stop=True)
    # the loop counts moves from its start, which is a draw here
    found.first_success = torch.where(found.fooled, found.first_success + 1, NOT_FOUND)
    return found


class RandomDraw:
    """A fresh draw around x, wherever the last one was."""

    needs_gradient = False

    def __init__(self, norm: str, epsilon: float, draws: SampleRNG) -> None:
        self.norm, self.epsilon, self.draws = norm, epsilon, draws

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        if self.norm == "linf":
            drawn = torch.where(self.draws.uniform(x) < 0.5, x - self.epsilon, x + self.epsilon).clamp_(0, 1)
        else:
            drawn = random_on_sphere(x, self.epsilon, self.norm, self.draws)
        return fix_rounding(drawn, x, self.epsilon, self.norm)

    def keep(self, mask: Tensor) -> None:
        """Forget the streams of the samples outside the mask (n,)."""
        self.draws = self.draws.take(mask)
