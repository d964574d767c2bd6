"""AFD, Adversarial Feature Desensitization (Bashivan et al. 2021, arXiv:2006.04621): the game of Algorithm 1."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Generator, Tensor

from afdctl import metrics
from afdctl.defenses.base import Adversary, Defense, Report, apply_gradients, forward_pair, gradients_of
from afdctl.losses import GAMES, gradient_penalty
from afdctl.models import discriminator
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.recipe import defenses

# `classify` of a recipe -> whether L_C is on x (Eq. 7) and on x'
CLASSIFIED: Final = {"clean": (True, False), "both": (True, True), "adversarial": (False, True)}


class AFD(Defense):
    """Three players: L_C moves theta and phi, L_D moves psi, L_F moves theta, each with its own optimizer."""

    def __init__(
        self, table: defenses.AFD, network: FeatureClassifier, adversary: Adversary, classes: int, noise: Generator
    ) -> None:
        super().__init__(table=table, network=network, adversary=adversary, classes=classes, noise=noise)
        self.game = GAMES[table.game]
        self.F_theta, self.C_phi = network.F_theta, network.C_phi
        self.D_psi = discriminator.build(
            table.discriminator,
            features=network.features,
            classes=classes,
            hidden=table.hidden,
            spectral=table.spectral_norm,
        ).to(network.C_phi.weight.device)
        self.modules["D_psi"] = self.D_psi
        self.optimizers["D"] = self.sgd("D", self.D_psi.parameters())
        self.optimizers["F"] = self.sgd("F", self.F_theta.parameters())

    def step(self, x: Tensor, y: Tensor) -> Report:
        x_adv = self.adversary(x, y)
        update = self.simultaneous if self.table.update == "simultaneous" else self.sequential
        return update(x, x_adv, y) | {"fraction_unchanged": metrics.fraction_unchanged(x, x_adv)}

    def simultaneous(self, x: Tensor, x_adv: Tensor, y: Tensor) -> Report:
        """Algorithm 1: three losses at the same weights, then three updates."""
        on_x, on_x_adv = CLASSIFIED[self.table.classify]
        if on_x or self.table.batch_statistics == "joint":
            z, z_adv = forward_pair(self.F_theta, x, x_adv, self.table.batch_statistics)
        else:
            # without L_C on x its features need no graph, which saves a backward pass
            with torch.no_grad():
                z = self.F_theta(x)
            z_adv = self.F_theta(x_adv)
        logits = self.C_phi(z)
        losses = [self.L_C(logits, y)] if on_x else []
        if on_x_adv:
            losses.append(self.L_C(self.C_phi(z_adv), y))
        loss_C = torch.stack(losses).mean()
        grads_C = gradients_of(loss_C, self.network, retain_graph=True)
        z = z.detach()
        nat, adv = self.D_psi(torch.cat([z, z_adv]), torch.cat([y, y])).chunk(2)
        # Eq. 9 or 11, then Eq. 10 or 12
        loss_D = self.game.L_D(nat, adv) + self.penalty(z, z_adv, y)
        grads_D = gradients_of(loss_D, self.D_psi, retain_graph=True)
        loss_F = self.game.L_F(adv)
        grads_F = gradients_of(loss_F, self.F_theta)
        # only now, because an update changes weights that the graphs of the other losses still hold
        norms = [
            apply_gradients(self.optimizers[loss_name], gradients)
            for loss_name, gradients in zip("CDF", (grads_C, grads_D, grads_F), strict=True)
        ]
        return step_report((loss_C, loss_D, loss_F), norms, metrics.accuracy(logits, y), nat, adv)

    def sequential(self, x: Tensor, x_adv: Tensor, y: Tensor) -> Report:
        """The published code's order: L_C, L_D and L_F in turn, each at the weights that the one before has moved."""
        on_x, on_x_adv = CLASSIFIED[self.table.classify]
        with torch.set_grad_enabled(on_x):
            logits = self.network(x)
        losses = [self.L_C(logits, y)] if on_x else []
        if on_x_adv:
            losses.append(self.L_C(self.network(x_adv), y))
        loss_C = torch.stack(losses).mean()
        grad_C = self.step_classifier(loss_C)

        # L_D moves psi only, so features need no graph
        with torch.no_grad():
            z, z_adv = self.F_theta(x), self.F_theta(x_adv)
        nat, adv = self.D_psi(z, y), self.D_psi(z_adv, y)
        loss_D = self.game.L_D(nat, adv) + self.penalty(z, z_adv, y)
        grad_D = apply_gradients(self.optimizers["D"], gradients_of(loss_D, self.D_psi))

        loss_F = self.game.L_F(self.D_psi(self.F_theta(x_adv), y))
        grad_F = apply_gradients(self.optimizers["F"], gradients_of(loss_F, self.F_theta))
        norms = grad_C, grad_D, grad_F
        return step_report((loss_C, loss_D, loss_F), norms, metrics.accuracy(logits, y), nat, adv)

    def penalty(self, z: Tensor, z_adv: Tensor, y: Tensor) -> Tensor | float:
        """Return the weighted gradient penalty between natural and adversarial features; 0 at weight 0."""
        if self.table.gp_weight == 0:
            return 0.0
        share = torch.rand((len(z), 1), generator=self.noise, device=z.device)
        labels = y if self.table.gp_conditional else None
        weight: float = self.table.gp_weight
        return weight * gradient_penalty(lambda mixed: self.D_psi(mixed, labels), z, z_adv, share)


def step_report(losses: Sequence[Tensor], norms: Sequence[Tensor], acc_nat: Tensor, nat: Tensor, adv: Tensor) -> Report:
    """Return losses and gradient norms of C, D and F, and how well D_psi's scores nat, adv (n,) separate z from z'."""
    nat, adv = nat.detach(), adv.detach()
    d_acc_nat, d_acc_adv = metrics.true_rates(nat, adv)
    raw, calibrated = d_acc_nat + d_acc_adv, metrics.alpha_h_calibrated(nat, adv)
    return {
        **dict(zip(("L_C", "L_D", "L_F"), (loss.detach() for loss in losses), strict=True)),
        "acc_nat": acc_nat,
        "d_accuracy": raw / 2,
        "d_acc_nat": d_acc_nat,
        "d_acc_adv": d_acc_adv,
        "alpha_h": raw,
        "alpha_h_calibrated": calibrated,
        "d_hdh": metrics.d_hdh(raw),
        "d_hdh_calibrated": metrics.d_hdh(calibrated),
        **dict(zip(("grad_C", "grad_D", "grad_F"), norms, strict=True)),
    }
