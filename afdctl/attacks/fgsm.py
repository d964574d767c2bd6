"""The fast gradient sign method (Goodfellow et al. 2015)."""

from torch import Tensor

from afdctl.attacks.climb import climb
from afdctl.attacks.draws import Draws
from afdctl.attacks.found import Found
from afdctl.attacks.iterate import Model
from afdctl.attacks.moves import Steepest, start_of


def fgsm(
    model: Model, x: Tensor, y: Tensor, *, epsilon: float, draws: Draws, norm: str = "linf", random_start: bool = False
) -> Found:
    """x' = x + epsilon sign(grad CE) for x (n, c, h, w): the end of the step, whether or not its start fools."""
    start = start_of(x, epsilon, norm, draws, random_start)
    found, _ = climb(model, x, y, start, Steepest(norm, epsilon, epsilon), steps=1, early_stop=False)
    return found
