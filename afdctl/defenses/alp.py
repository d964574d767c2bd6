"""ALP, adversarial logit pairing (Kannan et al. 2018, arXiv:1803.06373)."""

from torch import Tensor

from afdctl import metrics
from afdctl.defenses.base import Defense, Report, forward_pair
from afdctl.losses import logit_pairing


class LogitPairing(Defense):
    """Minimises L_C on x and x' in equal parts, plus `weight` times the mean squared difference of their logits."""

    def step(self, x: Tensor, y: Tensor) -> Report:
        x_adv = self.adversary(x, y)
        logits, logits_adv = forward_pair(self.network, x, x_adv, self.table.batch_statistics)
        loss = (self.L_C(logits, y) + self.L_C(logits_adv, y)) / 2
        pairing = logit_pairing(logits, logits_adv)
        return {
            "L_C": loss.detach(),
            "pairing": pairing.detach(),
            "acc_nat": metrics.accuracy(logits, y),
            "acc_adv": metrics.accuracy(logits_adv, y),
            "fraction_unchanged": metrics.fraction_unchanged(x, x_adv),
            "grad_C": self.step_classifier(loss + self.table.weight * pairing),
        }
