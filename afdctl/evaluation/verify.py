"""Verify attack results: clip x' to its ball and to [0, 1], and classify it again in float32."""

from dataclasses import dataclass

import torch
from torch import Tensor

from afdctl.attacks.base import Model, voted_class
from afdctl.attacks.norms import clip_to_ball, lp_norm
from afdctl.models.precision import true_float32

# how far x' is moved away from x where a claimed success is not confirmed: a minimum-norm perturbation ends so close to
# the boundary that rounding decides
NUDGES = (1.001, 1.01)


@dataclass(frozen=True)
class Verification:
    """The verified result of n images at one epsilon; `norm` (n,) is the length of x' - x in the attack's norm."""

    x_adv: Tensor
    prediction: Tensor
    norm: Tensor
    robust: Tensor

    def distance(self, correct: Tensor) -> Tensor:
        """Return the adversarial distance (n,): inf where robust, 0 where x itself is not classified as y."""
        return torch.where(self.robust, torch.inf, torch.where(correct, self.norm, 0.0))


def predict(model: Model, x: Tensor, evaluations: int = 1) -> Tensor:
    """Return the class (n,) that float32 predicts for each image most often in `evaluations` passes.

    NO_CLASS where a logit is NaN.
    """
    with torch.no_grad(), true_float32(model):
        return voted_class([model(x).float() for _ in range(evaluations)])


def verify(
    model: Model,
    x: Tensor,
    y: Tensor,
    x_adv: Tensor,
    *,
    clean: Tensor,
    claimed: Tensor,
    epsilon: float,
    norm: str,
    evaluations: int = 1,
) -> Verification:
    """Clip x' (n, c, h, w) to the ball around x and to [0, 1], and classify it in float32, as `predict` does.

    A sample is robust where the network classifies x (its predictions are `clean` (n,)) and x' as y. Where it does so
    although the attack `claimed` (n,) success, x' is nudged outwards, clipped and classified again.
    """
    x_adv = clip_to_ball(x_adv, x, epsilon, norm)
    prediction = predict(model, x_adv, evaluations)
    for nudge in NUDGES:
        refuted = claimed & (clean == y) & (prediction == y)
        if not refuted.any():
            break
        nudged = clip_to_ball(x[refuted] + nudge * (x_adv[refuted] - x[refuted]), x[refuted], epsilon, norm)
        nudged_prediction = predict(model, nudged, evaluations)
        fooled = nudged_prediction != y[refuted]
        rows = refuted.nonzero().flatten()[fooled]
        x_adv[rows], prediction[rows] = nudged[fooled], nudged_prediction[fooled]
    return Verification(
        x_adv=x_adv,
        prediction=prediction,
        norm=lp_norm(x_adv - x, norm),
        robust=(clean == y) & (prediction == y),
    )
