"""A user's defense whose step has no random draw, for trainings on several processes."""

from torch import Tensor

import afdctl
from afdctl.losses import L_C


class Both(afdctl.Defense):
    """Minimises L_C on x and x'."""

    label = "both"
    losses = ("L_C", "L_C_adv")

    def step(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Train on images x (n, c, h, w) in [0, 1] and labels y (n,)."""
        x_adv = self.adversary(x, y)
        clean, adversarial = L_C(self.network(x), y), L_C(self.network(x_adv), y)
        return {"L_C": clean, "L_C_adv": adversarial, "grad_C": self.step_classifier(clean + adversarial)}
