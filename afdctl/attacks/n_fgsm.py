"""N-FGSM (de Jorge et al. 2022): one step from strong noise, which is not projected back to the ball.

That is what keeps single-step training from overfitting to its own attack, so this is an adversary for training only:
x' is up to 1 + NOISE times epsilon away from x.
"""

import torch
from torch import Generator, Tensor

from afdctl.attacks.base import IterateTracker, Model, cross_entropy_of, loss_and_gradient
from afdctl.attacks.norms import ascent_direction, random_in_ball

NOISE = 2.0
"""The noise in units of epsilon: de Jorge et al.'s k on CIFAR-10, with a step of one epsilon."""


def n_fgsm(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int = 1,
    random_start: bool = True,
    keep: str = "worst_loss",
    generator: Generator,
) -> Tensor:
    """x' (n, c, h, w) in [0, 1] after one step; `steps` is not used. Without a random start it is FGSM."""
    start = random_in_ball(x, NOISE * epsilon, norm, generator) if random_start else x
    objective = cross_entropy_of(y)
    _, _, gradient = loss_and_gradient(model, objective, start)
    x_adv = (start + epsilon * ascent_direction(gradient, norm)).clamp_(0, 1)
    if keep != "success_only":
        return x_adv
    kept = IterateTracker(keep, x, y)
    with torch.no_grad():
        logits = model(x_adv)
        kept.offer(x_adv, logits, objective(logits))
    return kept.x_adv
