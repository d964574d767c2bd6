"""Projected gradient descent in three norms as foolbox takes its steps, for evaluation.

The L1 attack is kept for the published curves: a step along the dense gradient is far from the best that an L1 ball
allows.
"""

from functools import partial

from torch import Tensor

from afdctl.attacks.climb import climb, restarted
from afdctl.attacks.draws import Draws
from afdctl.attacks.found import Found
from afdctl.attacks.iterate import Model
from afdctl.attacks.moves import Steepest, start_of, step_length


def projected(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    epsilon: float,
    draws: Draws,
    steps: int,
    step_size: float | None = None,
    rel_step: float | None = None,
    random_start: bool = True,
    restarts: int = 1,
    early_stop: bool = True,
) -> Found:
    """x' (n, c, h, w) after `steps` steps of `step_size`, or of `rel_step` epsilon (Madry et al. 2018)."""
    move = Steepest(norm, epsilon, step_length(epsilon, steps, step_size, rel_step))

    def run(x: Tensor, y: Tensor, draws: Draws) -> tuple[Found, Tensor]:
        start = start_of(x, epsilon, norm, draws, random_start)
        return climb(model, x, y, start, move, steps=steps, early_stop=early_stop)

    # from x itself every restart would be the same
    return restarted(run, x, y, draws, restarts=restarts if random_start else 1, steps=steps)


pgd_linf = partial(projected, norm="linf")
pgd_l2 = partial(projected, norm="l2")
pgd_l1 = partial(projected, norm="l1")
