"""An attack's word is never taken: x' is put into its ball and classified anew, in float32, by the network itself."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]

NO_CLASS = -1
TOLERANCE = 1e-5
"""How much longer than epsilon a perturbation may be, relatively: what rounding in float32 makes of a projection."""
NUDGES = (1.0, 1.001, 1.01)
"""How far x' is moved on from x where the network does not confirm it: a minimal perturbation ends so close to the
boundary that rounding decides. What a nudge makes is held to ball and box like everything else."""


@dataclass(frozen=True)
class Verdict:
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


def judge(
    model: Model, x: Tensor, y: Tensor, clean: Tensor, x_adv: Tensor, claimed: Tensor, epsilon: float, norm: str
) -> Verdict:
    """Hold x' (n, c, h, w) to the ball around x and to [0, 1], and classify it.

    A sample is robust where the network classifies both x (`clean`, its predictions) and x' as y. Where the attack
    `claimed` (n,) a success that is not confirmed, x' is nudged on.
    """
    x_adv = inside(x_adv, x, epsilon, norm)
    prediction = predict(model, x_adv)
    for nudge in NUDGES[1:]:
        refuted = claimed & (clean == y) & (prediction == y)
        if not refuted.any():
            break
        moved = inside(x[refuted] + nudge * (x_adv[refuted] - x[refuted]), x[refuted], epsilon, norm)
        again = predict(model, moved)
        fooled = again != y[refuted]
        place = refuted.nonzero().flatten()[fooled]
        x_adv[place], prediction[place] = moved[fooled], again[fooled]
    return Verdict(x_adv, prediction, length(x_adv - x, norm), (clean == y) & (prediction == y))


def inside(x_adv: Tensor, x: Tensor, epsilon: float, norm: str) -> Tensor:
    """A copy of x_adv in [0, 1] and in the ball; what is not a number becomes x."""
    x_adv = torch.where(x_adv.isnan(), x, x_adv).clamp(0, 1)
    if norm == "linf":
        return torch.minimum(torch.maximum(x_adv, x - epsilon), x + epsilon).clamp(0, 1)
    delta = x_adv - x
    lengths = length(delta, norm)
    scale = torch.where(lengths > epsilon * (1 + TOLERANCE), epsilon / lengths.clamp_min(1e-30), 1.0)
    # towards x, which is in the box, so the box still holds
    return x + delta * scale.view(-1, *[1] * (x.dim() - 1))


def length(delta: Tensor, norm: str) -> Tensor:
    """The norm (n,) of each perturbation (n, ...)."""
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    lengths: Tensor = torch.linalg.vector_norm(delta.flatten(1), ord=order, dim=1)
    return lengths
