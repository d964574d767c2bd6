"""The momentum iterative method (Dong et al. 2018), as AdverTorch writes it; foolbox adds up gradients' signs."""

from torch import Tensor

from afdctl.attacks.climb import climb
from afdctl.attacks.draws import Draws
from afdctl.attacks.found import Found
from afdctl.attacks.iterate import Model
from afdctl.attacks.moves import Momentum, step_length


def mim(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    draws: Draws,
    norm: str = "linf",
    steps: int,
    step_size: float | None = None,
    rel_step: float | None = None,
    decay: float = 1.0,
    early_stop: bool = True,
) -> Found:
    """x' (n, c, h, w) after `steps` steps along sign(g), g <- decay g + gradient / ||gradient||_1; it draws nothing."""
    move = Momentum(norm, epsilon, step_length(epsilon, steps, step_size, rel_step), decay, x)
    found, _ = climb(model, x, y, x, move, steps=steps, early_stop=early_stop)
    return found
