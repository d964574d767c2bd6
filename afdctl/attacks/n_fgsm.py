"""N-FGSM (de Jorge et al. 2022, arXiv:2202.01181): one step from strong noise, without a projection to the ball.

Without the projection, training on a single step does not overfit to its own attack. It is an adversary for training
only, as x' is up to 1 + NOISE times epsilon away from x.
"""

from typing import Final

import torch
from torch import Generator, Tensor

from afdctl.attacks.base import IterateTracker, Model, cross_entropy_per_sample, loss_and_gradient
from afdctl.attacks.norms import random_in_ball, steepest_direction

# the noise in units of epsilon: de Jorge et al.'s k on CIFAR-10, with a step of one epsilon
NOISE: Final = 2.0


def n_fgsm(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int = 1,
    random_start: bool = True,
    return_iterate: str = "best_loss",
    generator: Generator,
) -> Tensor:
    """Return x' (n, c, h, w) in [0, 1] after one step; `steps` is ignored. Without a random start it is FGSM."""
    start = random_in_ball(x, NOISE * epsilon, norm, generator) if random_start else x
    _, _, gradient = loss_and_gradient(model, cross_entropy_per_sample, start, y)
    x_adv = (start + epsilon * steepest_direction(gradient, norm)).clamp_(0, 1)
    # the only iterate is the last one and has the largest loss: evaluating it would waste a pass
    if return_iterate != "last_success":
        return x_adv
    tracker = IterateTracker(return_iterate, x, y)
    with torch.no_grad():
        logits = model(x_adv)
        tracker.update(x_adv, logits, cross_entropy_per_sample(logits, y))
    return tracker.x_adv
