"""SCORE: TRADES with squared errors of probabilities (Pang et al. 2022, arXiv:2202.10103)."""

from torch import Tensor
from torch.nn.functional import relu

from afdctl import losses, metrics
from afdctl.defenses.base import Defense, Report, forward_pair


class Score(Defense):
    """Minimises ||p(x) - y||^2 plus beta times ||p(x) - p(x')||^2, in each sample only the part above `bound`."""

    def step(self, x: Tensor, y: Tensor) -> Report:
        x_adv = self.adversary(x, y)
        logits, logits_adv = forward_pair(self.network, x, x_adv, self.table.batch_statistics)
        error = losses.squared_error(self.with_margin(logits, y), y, self.table.label_smoothing)
        distance = losses.squared_distance(logits, logits_adv)
        loss = relu(error + self.table.beta * distance - self.bound(logits.shape[1])).mean()
        return {
            "L_C": error.mean().detach(),
            "distance": distance.mean().detach(),
            "acc_nat": metrics.accuracy(logits, y),
            "acc_adv": metrics.accuracy(logits_adv, y),
            "fraction_unchanged": metrics.fraction_unchanged(x, x_adv),
            "grad_C": self.step_classifier(loss),
        }

    def bound(self, classes: int) -> float:
        """Return the squared error of `clip` on the wrong classes, in equal parts (section 5.2, published code)."""
        clip: float = self.table.clip
        return clip**2 * classes / (classes - 1)
