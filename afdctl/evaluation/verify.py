"""An attack's word is never taken: x' is put into its ball and classified anew, in float32, by the network itself."""

from dataclasses import dataclass

import torch
from torch import Tensor

from afdctl.attacks.base import Model
from afdctl.attacks.norms import clip_to_ball, lp_norm

NO_CLASS = -1
NUDGES = (1.0, 1.001, 1.01)
"""How far x' is moved on from x where the network does not confirm it: a minimal perturbation ends so close to the
boundary that rounding decides. What a nudge makes is held to ball and box like everything else."""


@dataclass(frozen=True)
class Verification:
    """What holds of n images x' at one epsilon; `norm` (n,) is the length of x' - x in the attack's norm."""

    x_adv: Tensor
    prediction: Tensor
    norm: Tensor
    robust: Tensor


def predict(model: Model, x: Tensor) -> Tensor:
    """The class of each image (n,); NO_CLASS where a logit is not a number, which is never the right one."""
    with torch.no_grad():
        logits = model(x).float()
    return torch.where(logits.isnan().any(1), NO_CLASS, logits.argmax(1))


def verify(
    model: Model, x: Tensor, y: Tensor, clean: Tensor, x_adv: Tensor, claimed: Tensor, epsilon: float, norm: str
) -> Verification:
    """Hold x' (n, c, h, w) to the ball around x and to [0, 1], and classify it.

    A sample is robust where the network classifies both x (`clean`, its predictions) and x' as y. Where the attack
    `claimed` (n,) a success that is not confirmed, x' is nudged on.
    """
    x_adv = clip_to_ball(x_adv, x, epsilon, norm)
    prediction = predict(model, x_adv)
    for nudge in NUDGES[1:]:
        refuted = claimed & (clean == y) & (prediction == y)
        if not refuted.any():
            break
        moved = clip_to_ball(x[refuted] + nudge * (x_adv[refuted] - x[refuted]), x[refuted], epsilon, norm)
        again = predict(model, moved)
        fooled = again != y[refuted]
        place = refuted.nonzero().flatten()[fooled]
        x_adv[place], prediction[place] = moved[fooled], again[fooled]
    return Verification(x_adv, prediction, lp_norm(x_adv - x, norm), (clean == y) & (prediction == y))
