"""AT, adversarial training (Madry et al. 2018, arXiv:1706.06083)."""

from torch import Tensor

from afdctl import metrics
from afdctl.defenses.base import Defense, Report


class Adversarial(Defense):
    """Minimises L_C on adversarial images."""

    def step(self, x: Tensor, y: Tensor) -> Report:
        x_adv = self.adversary(x, y)
        logits = self.network(x_adv)
        loss = self.L_C(logits, y)
        return {
            "L_C": loss.detach(),
            "acc_adv": metrics.accuracy(logits, y),
            "fraction_unchanged": metrics.fraction_unchanged(x, x_adv),
            "grad_C": self.step_classifier(loss),
        }
