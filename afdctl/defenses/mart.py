"""MART (Wang et al. 2020, ICLR, openreview.net/forum?id=rklOg6EFwS)."""

from torch import Tensor

from afdctl import metrics
from afdctl.defenses.base import Defense, Report, forward_pair
from afdctl.losses import boosting_term, weighted_kl


class Mart(Defense):
    """Minimises L_C and -log(1 - p_k(x')) on adversarial images, plus beta times KL(p(x) || p(x')) (1 - p_y(x))."""

    def step(self, x: Tensor, y: Tensor) -> Report:
        x_adv = self.adversary(x, y)
        logits, logits_adv = forward_pair(self.network, x, x_adv, self.table.batch_statistics)
        loss, boost = self.L_C(logits_adv, y), boosting_term(logits_adv, y)
        kl = weighted_kl(logits, logits_adv, y)
        return {
            "L_C": loss.detach(),
            "boost": boost.detach(),
            "kl": kl.detach(),
            "acc_nat": metrics.accuracy(logits, y),
            "acc_adv": metrics.accuracy(logits_adv, y),
            "fraction_unchanged": metrics.fraction_unchanged(x, x_adv),
            "grad_C": self.step_classifier(loss + boost + self.table.beta * kl),
        }
