"""AFD, Adversarial Feature Desensitization (Bashivan et al. 2021, arXiv:2006.04621): the game of Algorithm 1."""

from collections.abc import Sequence
from typing import Final, NamedTuple

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


class Classified(NamedTuple):
    """L_C of a batch and its gradients, with the logits and features of x and x'; only those of x' have a graph."""

    logits: tuple[Tensor, Tensor]
    features: tuple[Tensor, Tensor]
    loss: Tensor
    gradients: Sequence[Tensor]


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
        classify = self.classify_jointly if self.table.batch_statistics == "joint" else self.classify_separately
        (logits, logits_adv), (z, z_adv), loss_C, grads_C = classify(x, x_adv, y)
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
        accuracies = metrics.accuracy(logits, y), metrics.accuracy(logits_adv, y)
        return step_report((loss_C, loss_D, loss_F), norms, accuracies, nat, adv)

    def classify_separately(self, x: Tensor, x_adv: Tensor, y: Tensor) -> Classified:
        """Compute L_C and its gradients, with x and x' in two passes."""
        on_x, on_x_adv = CLASSIFIED[self.table.classify]
        terms = []
        # without L_C on x its features need no graph, which saves a backward pass
        with torch.set_grad_enabled(on_x):
            z = self.F_theta(x)
            logits = self.C_phi(z)
        if on_x:
            loss = self.L_C(logits, y)
            # before the pass on x', so that the graphs of both are never in memory at once
            terms.append((loss, gradients_of(loss, self.network)))
        z, z_adv = z.detach(), self.F_theta(x_adv)
        with torch.set_grad_enabled(on_x_adv):
            logits_adv = self.C_phi(z_adv)
        if on_x_adv:
            loss = self.L_C(logits_adv, y)
            terms.append((loss, gradients_of(loss, self.network, retain_graph=True)))
        return Classified((logits, logits_adv), (z, z_adv), *mean_of(terms))

    def classify_jointly(self, x: Tensor, x_adv: Tensor, y: Tensor) -> Classified:
        """Compute L_C and its gradients, with x and x' in one pass."""
        z, z_adv = forward_pair(self.F_theta, x, x_adv, "joint")
        logits, logits_adv = self.C_phi(z), self.C_phi(z_adv)
        classified = zip(CLASSIFIED[self.table.classify], (logits, logits_adv), strict=True)
        loss_C = torch.stack([self.L_C(of, y) for is_classified, of in classified if is_classified]).mean()
        gradients = gradients_of(loss_C, self.network, retain_graph=True)
        return Classified((logits, logits_adv), (z.detach(), z_adv), loss_C, gradients)

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
            accuracies = metrics.accuracy(logits, y), metrics.accuracy(self.C_phi(z_adv), y)
        nat, adv = self.D_psi(z, y), self.D_psi(z_adv, y)
        loss_D = self.game.L_D(nat, adv) + self.penalty(z, z_adv, y)
        grad_D = apply_gradients(self.optimizers["D"], gradients_of(loss_D, self.D_psi))

        loss_F = self.game.L_F(self.D_psi(self.F_theta(x_adv), y))
        grad_F = apply_gradients(self.optimizers["F"], gradients_of(loss_F, self.F_theta))
        norms = grad_C, grad_D, grad_F
        return step_report((loss_C, loss_D, loss_F), norms, accuracies, nat, adv)

    def penalty(self, z: Tensor, z_adv: Tensor, y: Tensor) -> Tensor | float:
        """Return the weighted gradient penalty between natural and adversarial features; 0 at weight 0."""
        if self.table.gp_weight == 0:
            return 0.0
        share = torch.rand((len(z), 1), generator=self.noise, device=z.device)
        labels = y if self.table.gp_conditional else None
        weight: float = self.table.gp_weight
        return weight * gradient_penalty(lambda mixed: self.D_psi(mixed, labels), z, z_adv, share)


def mean_of(terms: Sequence[tuple[Tensor, Sequence[Tensor]]]) -> tuple[Tensor, Sequence[Tensor]]:
    """Average one or two losses and their gradients."""
    if len(terms) == 1:
        return terms[0]
    (loss, gradients), (other_loss, other_gradients) = terms
    return (loss + other_loss) / 2, [(g + h) / 2 for g, h in zip(gradients, other_gradients, strict=True)]


def step_report(
    losses: Sequence[Tensor], norms: Sequence[Tensor], accuracies: Sequence[Tensor], nat: Tensor, adv: Tensor
) -> Report:
    """Return losses and gradient norms of C, D and F, and how well D_psi's scores nat, adv (n,) separate z from z'.

    `accuracies` are those of the batch's x and x'.
    """
    nat, adv = nat.detach(), adv.detach()
    d_acc_nat, d_acc_adv = metrics.true_rates(nat, adv)
    raw, calibrated = d_acc_nat + d_acc_adv, metrics.alpha_h_calibrated(nat, adv)
    return {
        **dict(zip(("L_C", "L_D", "L_F"), (loss.detach() for loss in losses), strict=True)),
        **dict(zip(("acc_nat", "acc_adv"), accuracies, strict=True)),
        "d_accuracy": raw / 2,
        "d_acc_nat": d_acc_nat,
        "d_acc_adv": d_acc_adv,
        "alpha_h": raw,
        "alpha_h_calibrated": calibrated,
        "d_hdh": metrics.d_hdh(raw),
        "d_hdh_calibrated": metrics.d_hdh(calibrated),
        **dict(zip(("grad_C", "grad_D", "grad_F"), norms, strict=True)),
    }
