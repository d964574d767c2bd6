"""DDN (Rony et al. 2019): a ball that shrinks while its sample is fooled and grows while it is not, in L2."""

from math import cos, pi

import torch
from torch import Tensor

from afdctl.attacks.base import (
    NOT_FOUND,
    AttackResult,
    Model,
    Objective,
    fools_by,
    is_misclassified,
    loss_and_gradient,
    per_sample,
)
from afdctl.attacks.norms import lp_norm
from afdctl.attacks.sample_rng import SampleRNG

FIRST_STEP, LAST_STEP = 1.0, 0.01


def ddn(
    model: Model, x: Tensor, y: Tensor, *, draws: SampleRNG, norm: str, steps: int, init_epsilon: float, gamma: float
) -> AttackResult:
    """`steps` iterates, of which x is the first; `draws` gives the way where the model has no slope."""
    assert norm == "l2"
    found = AttackResult.nothing(x)
    if not len(x):
        return found
    logits, _, gradient = loss_and_gradient(model, likelihood_ratio_of(y), x)
    found.forwards += 1
    found.backwards += 1
    wrong = is_misclassified(logits, y)
    found.first_success[wrong] = 0
    right = (~wrong).nonzero()[:, 0]
    if len(right):
        search = DDNState(x[right], y[right], gradient[right], draws.take(right), init_epsilon, gamma)
        found.put(right, search.run(model, steps))
    return found


def likelihood_ratio_of(y: Tensor) -> Objective:
    """log((1 - p_y) / p_y) (n,): its gradient has the direction of the cross-entropy's, and never underflows.

    The cross-entropy's is 1 - p_y times it, which is 0 in single precision once p_y rounds to 1.
    """

    def objective(logits: Tensor) -> Tensor:
        others = logits.scatter(1, y[:, None], -torch.inf)
        return others.logsumexp(1) - logits.gather(1, y[:, None])[:, 0]

    return objective


class DDNState:
    """The samples that are classified rightly: all of them take every step."""

    def __init__(
        self, x: Tensor, y: Tensor, gradient: Tensor, draws: SampleRNG, init_epsilon: float, gamma: float
    ) -> None:
        self.x, self.y, self.gamma = x, y, gamma
        self.x_adv, self.gradient = x, gradient
        self.fallback = draws.normal(x)
        self.widest = lp_norm(torch.maximum(x, 1 - x), "l2")
        self.epsilon = torch.full_like(self.widest, init_epsilon)
        self.fooled = torch.zeros_like(y, dtype=torch.bool)
        self.best = self.widest
        self.found = AttackResult.nothing(x)

    def run(self, model: Model, steps: int) -> AttackResult:
        """What is found from a gradient at x; passes are those after it."""
        objective = likelihood_ratio_of(self.y)
        for step in range(1, steps):
            # cosine annealing from 1 to 0.01
            self.move(LAST_STEP + (FIRST_STEP - LAST_STEP) * (1 + cos(pi * (step - 1) / steps)) / 2)
            if step < steps - 1:
                logits, _, self.gradient = loss_and_gradient(model, objective, self.x_adv)
                self.found.backwards += 1
            else:
                with torch.no_grad():
                    logits = model(self.x_adv)
            self.found.forwards += 1
            self.fooled = fools_by(logits, self.y)
            self.keep(step)
        return self.found

    def move(self, step_size: float) -> None:
        """A step along the gradient, onto the sphere of the new radius, into the box."""
        delta = self.x_adv - self.x + step_size * unit_vector(self.gradient, self.fallback)
        self.epsilon = self.epsilon * torch.where(self.fooled, 1 - self.gamma, 1 + self.gamma)
        self.epsilon = torch.minimum(self.epsilon, self.widest)
        self.x_adv = (self.x + delta * per_sample(self.epsilon / lp_norm(delta, "l2"), delta)).clamp_(0, 1)

    def keep(self, step: int) -> None:
        """Keep the iterate where it is the nearest that fooled."""
        first = self.fooled & (self.found.first_success == NOT_FOUND)
        self.found.first_success.masked_fill_(first, step)
        distance = lp_norm(self.x_adv - self.x, "l2")
        nearer = self.fooled & (distance <= self.best)
        self.best = torch.where(nearer, distance, self.best)
        self.found.x_adv = torch.where(per_sample(nearer, self.x), self.x_adv, self.found.x_adv)


def unit_vector(gradient: Tensor, fallback: Tensor) -> Tensor:
    """Gradients scaled to length 1, however small they are; the fallback's direction where there is none."""
    largest = gradient.flatten(1).abs().amax(1)
    usable = (largest > 0) & largest.isfinite()
    # the largest entry becomes 1 first: squares of small ones underflow
    scaled = gradient / per_sample(largest, gradient)
    direction = torch.where(per_sample(usable, gradient), scaled, fallback)
    return direction / per_sample(lp_norm(direction, "l2"), direction)
