"""NT, natural training: no defense."""

from torch import Tensor

from afdctl import metrics
from afdctl.defenses.base import Defense, Report


class Natural(Defense):
    """Minimises L_C on natural images (Eq. 7)."""

    def step(self, x: Tensor, y: Tensor) -> Report:
        logits = self.network(x)
        loss = self.L_C(logits, y)
        grad_C = self.step_classifier(loss)
        return {"L_C": loss.detach(), "acc_nat": metrics.accuracy(logits, y), "grad_C": grad_C}
