"""A defense in a file: interpolated adversarial training (Lamb et al. 2019, arXiv:1906.06784).

afdctl train docs/examples/interpolated.toml
"""

import torch
from torch import Tensor

import afdctl
from afdctl import metrics
from afdctl.losses import L_C, probabilities


class Interpolated(afdctl.Defense):
    """Minimises L_C on mixtures of two images, of x and of x', each with the same mixture of its labels."""

    label = "IAT"
    losses = ("L_mix", "L_mix_adv")
    classified = "both"

    class Config(afdctl.DefenseConfig):
        """The keys of [defense]."""

        weight: float = 0.5  # of x' against x; the paper averages both

    def step(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Train on images x (n, c, h, w) in [0, 1] and labels y (n,)."""
        x_adv = self.adversary(x, y)
        # the share of the second image is uniform, the Beta(1, 1) of the paper; `noise` is in every checkpoint
        share = torch.rand((), generator=self.noise, device=x.device)
        second = torch.randperm(len(x), generator=self.noise, device=x.device)

        def mixed(values: Tensor) -> Tensor:
            return values.lerp(values[second], share)

        logits, logits_adv = self.network(mixed(x)), self.network(mixed(x_adv))
        labels = mixed(probabilities(y, logits.shape[1]))
        clean, adversarial = L_C(logits, labels), L_C(logits_adv, labels)
        return {
            "L_mix": clean,
            "L_mix_adv": adversarial,
            "acc_nat": metrics.accuracy(logits, labels),
            "acc_adv": metrics.accuracy(logits_adv, labels),
            "grad_C": self.step_classifier(clean.lerp(adversarial, self.table.weight)),
        }
