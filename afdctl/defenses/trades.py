"""TRADES (Zhang et al. 2019, arXiv:1901.08573)."""

from torch import Tensor

from afdctl import metrics
from afdctl.defenses.base import Defense, Report, forward_pair
from afdctl.losses import kl_divergence


class Trades(Defense):
    """Minimises L_C on natural images plus beta times the mean of KL(p(x) || p(x'))."""

    def step(self, x: Tensor, y: Tensor) -> Report:
        x_adv = self.adversary(x, y)
        logits, logits_adv = forward_pair(self.network, x, x_adv, self.table.batch_statistics)
        natural, kl = self.L_C(logits, y), kl_divergence(logits, logits_adv).mean()
        return {
            "L_C": natural.detach(),
            "kl": kl.detach(),
            "acc_nat": metrics.accuracy(logits, y),
            "acc_adv": metrics.accuracy(logits_adv, y),
            "fraction_unchanged": metrics.fraction_unchanged(x, x_adv),
            "grad_C": self.step_classifier(natural + self.table.beta * kl),
        }
