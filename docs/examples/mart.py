"""A defense in a file: MART (Wang et al. 2020, ICLR, openreview rklOg6EFwS).

afdctl train docs/examples/mart.toml
"""

import torch
from torch import Tensor
from torch.nn.functional import softmax

import afdctl
from afdctl import metrics
from afdctl.losses import L_C, kl_divergence


def boosted_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross-entropy plus -log(1 - p) of the most likely wrong class, of logits (n, classes)."""
    p = softmax(logits, dim=1)
    wrong = p.scatter(1, y[:, None], 0).amax(dim=1)
    return L_C(logits, y) - torch.log1p(-wrong + 1e-6).mean()


class Mart(afdctl.Defense):
    """Minimises the boosted cross-entropy on x' plus `weight` times a KL term that counts uncertain images more."""

    label = "MART"
    losses = ("L_bce", "L_kl")
    classified = "x'"

    class Config(afdctl.DefenseConfig):
        """The keys of [defense]."""

        weight: float = 5.0

    def step(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Train on images x (n, c, h, w) in [0, 1] and labels y (n,)."""
        x_adv = self.adversary(x, y)
        logits, logits_adv = self.network(x), self.network(x_adv)
        true = softmax(logits, dim=1).gather(1, y[:, None])[:, 0]
        bce = boosted_cross_entropy(logits_adv, y)
        kl = (kl_divergence(logits, logits_adv) * (1 - true)).mean()
        return {
            "L_bce": bce,
            "L_kl": kl,
            "acc_nat": metrics.accuracy(logits, y),
            "acc_adv": metrics.accuracy(logits_adv, y),
            "grad_C": self.step_classifier(bce + self.table.weight * kl),
        }
