"""Representation matching (section 4.6 of the AFD paper, arXiv:2006.04621): a norm instead of a discriminator."""

from torch import Tensor

from afdctl import metrics
from afdctl.defenses.base import Defense, Report
from afdctl.losses import sensitivity


class Matching(Defense):
    """Minimises L_C on natural images plus `weight` times the mean of ||F(x) - F(x')||_2."""

    def step(self, x: Tensor, y: Tensor) -> Report:
        x_adv = self.adversary(x, y)
        z, z_adv = self.network.F_theta(x), self.network.F_theta(x_adv)
        logits = self.network.C_phi(z)
        natural, distance = self.L_C(logits, y), sensitivity(z, z_adv)
        return {
            "L_C": natural.detach(),
            "sensitivity": distance.detach(),
            "acc_nat": metrics.accuracy(logits, y),
            "fraction_unchanged": metrics.fraction_unchanged(x, x_adv),
            "grad_C": self.step_classifier(natural + self.table.weight * distance),
        }
