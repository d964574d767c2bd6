"""An adaptive attack for defenses that act on features, such as AFD: it moves the features as well as the logits.

    afdctl attack RUN --attack docs/examples/feature_attack.py:FeatureAttack --epsilon 0.1 --set weight=2

Its loss is its own: the margin, plus the distance of the features of x' from those of x.
"""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

import afdctl


class FeatureAttack:
    label = "features"

    class Config(afdctl.AttackConfig):
        steps: int = 40
        rel_step: float = 0.1  # length of a step as a fraction of epsilon
        weight: float = 1.0  # of the features in the loss

    def __call__(self, model, x: Tensor, y: Tensor, *, epsilon, rng, steps, rel_step, weight) -> Tensor:
        network = model.network  # the torch module: F_theta and C_phi of a run
        with torch.no_grad():
            z = network.F_theta(x)
        # one random stream per image, so that the result does not depend on the batch
        x_adv = (x + epsilon * (2 * rng.uniform(x) - 1)).clamp(0, 1)
        for _ in range(steps):
            x_adv.requires_grad_()
            z_adv = network.F_theta(x_adv)
            loss = margin(network.C_phi(z_adv), y) - weight * cosine_similarity(z_adv, z)
            (gradient,) = torch.autograd.grad(loss.sum(), x_adv)
            x_adv = x_adv.detach() + rel_step * epsilon * gradient.sign()
            x_adv = (x + (x_adv - x).clamp(-epsilon, epsilon)).clamp(0, 1)
        return x_adv


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return the largest other logit minus that of y (n,)."""
    right = logits.gather(1, y[:, None])[:, 0]
    return logits.scatter(1, y[:, None], -torch.inf).amax(1) - right
