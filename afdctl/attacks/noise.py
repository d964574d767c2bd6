"""Random noise at the edge of the ball: what an attack must beat, and what no masked gradient stands in the way of."""

import torch
from torch import Tensor

from afdctl.attacks.ball import boundary_start, inside
from afdctl.attacks.climb import climb
from afdctl.attacks.draws import Draws
from afdctl.attacks.found import NEVER, Found
from afdctl.attacks.iterate import Model


def noise(
    model: Model, x: Tensor, y: Tensor, *, epsilon: float, draws: Draws, norm: str = "linf", samples: int
) -> Found:
    """x' (n, c, h, w): the first draw that fools: epsilon up or down in each pixel (Linf), of length epsilon (L2)."""
    move = Redraw(norm, epsilon, draws)
    found, _ = climb(model, x, y, move(x, x, x), move, steps=samples - 1, early_stop=True)
    # the loop counts moves from its start, which is a draw here
    found.first_success = torch.where(found.fooled, found.first_success + 1, NEVER)
    return found


class Redraw:
    """A fresh draw around x, wherever the last one was."""

    needs_gradient = False

    def __init__(self, norm: str, epsilon: float, draws: Draws) -> None:
        self.norm, self.epsilon, self.draws = norm, epsilon, draws

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        if self.norm == "linf":
            drawn = torch.where(self.draws.uniform(x) < 0.5, x - self.epsilon, x + self.epsilon).clamp_(0, 1)
        else:
            drawn = boundary_start(x, self.epsilon, self.norm, self.draws)
        return inside(drawn, x, self.epsilon, self.norm)

    def keep(self, mask: Tensor) -> None:
        """Forget the streams of the samples outside the mask (n,)."""
        self.draws = self.draws.take(mask)
