"""DDN, decoupled direction and norm (Rony et al. 2019, arXiv:1811.09600), in l2.

A step follows the gradient's direction onto a sphere, which shrinks while its sample is fooled and grows while it is
not.
"""

from math import cos, pi
from typing import Final

import torch
from torch import Tensor

from afdctl.attacks.base import (
    NOT_FOUND,
    AttackResult,
    Model,
    is_misclassified,
    loss_and_gradient,
    rounding_margin,
)
from afdctl.attacks.norms import lp_norm, per_sample, steepest_direction
from afdctl.attacks.sample_rng import SampleRNG

# step sizes of the cosine annealing
FIRST_STEP: Final = 1.0
LAST_STEP: Final = 0.01


def ddn(
    model: Model, x: Tensor, y: Tensor, *, rng: SampleRNG, norm: str, steps: int, init_epsilon: float, gamma: float
) -> AttackResult:
    """Return the nearest of `steps` iterates that fools the model, of which x (n, c, h, w) is the first.

    `init_epsilon` is the first radius and `gamma` its relative change in a step. `rng` gives the direction where the
    model has no gradient.
    """
    assert norm == "l2"
    result = AttackResult.empty(x)
    if not len(x):
        return result
    logits, _, gradient = loss_and_gradient(model, log_odds, x, y)
    result.forwards += 1
    result.backwards += 1
    wrong = is_misclassified(logits, y)
    result.first_success_step[wrong] = 0
    right = (~wrong).nonzero()[:, 0]
    if len(right):
        state = DDNState(
            x=x[right],
            y=y[right],
            gradient=gradient[right],
            rng=rng.select(right),
            init_epsilon=init_epsilon,
            gamma=gamma,
        )
        result.update(right, state.run(model, steps))
    return result


def log_odds(logits: Tensor, y: Tensor) -> Tensor:
    """Return log((1 - p_y) / p_y) (n,), whose gradient has the direction of the cross-entropy's but never underflows.

    The cross-entropy's gradient is 1 - p_y times as long, which is 0 in float32 once p_y rounds to 1.
    """
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.logsumexp(1) - logits.gather(1, y[:, None])[:, 0]


class DDNState:
    """The search of samples that are classified correctly at x; all of them take every step."""

    def __init__(
        self, *, x: Tensor, y: Tensor, gradient: Tensor, rng: SampleRNG, init_epsilon: float, gamma: float
    ) -> None:
        self.x, self.y, self.gamma = x, y, gamma
        self.x_adv, self.gradient = x, gradient
        self.fallback = rng.normal(x)
        # the distance to the farthest corner of the box
        self.max_epsilon = lp_norm(torch.maximum(x, 1 - x), "l2")
        self.epsilon = torch.full_like(self.max_epsilon, init_epsilon)
        self.fooled = torch.zeros_like(y, dtype=torch.bool)
        self.distance = self.max_epsilon
        self.result = AttackResult.empty(x)

    def run(self, model: Model, steps: int) -> AttackResult:
        """Take the steps, from the gradient at x. Return the result with the passes after that gradient."""
        for step in range(1, steps):
            cosine = (1 + cos(pi * (step - 1) / steps)) / 2
            self.move(LAST_STEP + (FIRST_STEP - LAST_STEP) * cosine)
            if step < steps - 1:
                logits, _, self.gradient = loss_and_gradient(model, log_odds, self.x_adv, self.y)
                self.result.backwards += 1
            else:
                with torch.no_grad():
                    logits = model(self.x_adv)
            self.result.forwards += 1
            self.fooled = is_misclassified(logits, self.y, rounding_margin(logits, self.y))
            self.record(step)
        return self.result

    def move(self, step_size: float) -> None:
        """Step along the gradient, scale the perturbation to the new radius, and clip it to the box."""
        has_gradient = (self.gradient != 0).flatten(1).any(1)
        gradient = torch.where(per_sample(has_gradient, self.x), self.gradient, self.fallback)
        delta = self.x_adv - self.x + step_size * steepest_direction(gradient, "l2")
        self.epsilon = self.epsilon * torch.where(self.fooled, 1 - self.gamma, 1 + self.gamma)
        self.epsilon = torch.minimum(self.epsilon, self.max_epsilon)
        self.x_adv = (self.x + delta * per_sample(self.epsilon / lp_norm(delta, "l2"), delta)).clamp_(0, 1)

    def record(self, step: int) -> None:
        """Keep the iterates that fool the model from the nearest distance so far."""
        first = self.fooled & (self.result.first_success_step == NOT_FOUND)
        self.result.first_success_step.masked_fill_(first, step)
        distance = lp_norm(self.x_adv - self.x, "l2")
        # or equal, because the farthest corner is at the initial distance
        nearer = self.fooled & (distance <= self.distance)
        self.distance = torch.where(nearer, distance, self.distance)
        self.result.x_adv = torch.where(per_sample(nearer, self.x), self.x_adv, self.result.x_adv)
