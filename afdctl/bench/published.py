"""The AFD step in the published code's order of operations: what the step of this package is measured against.

Written from the facts of paper-vs-code (rows 3, 5, 9, 11, 21, 22); no line of that code was used.
"""

import torch
from torch import Generator, Tensor, nn

from afdctl import metrics
from afdctl.attacks.adversary import Adversary
from afdctl.defenses.afd import AFD
from afdctl.defenses.base import Report
from afdctl.losses import L_C, gradient_penalty
from afdctl.recipe.schema import Attack


class UnfoldedAdversary(Adversary):
    """The same adversary on the network itself, in evaluation mode with frozen parameters."""

    def __init__(self, network: nn.Module, attack: Attack, generator: Generator) -> None:
        super().__init__(network, attack, generator)
        self.network = network

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        self.network.eval().requires_grad_(False)
        x_adv = self.against(self.network, x, y)
        self.network.train().requires_grad_(True)
        return x_adv


class Published(AFD):
    """Seven encoder passes in training mode for the Wasserstein game, five for the others.

    The encoder's features are computed anew for each loss, the discriminator's loss goes back through the encoder, and
    the gradient penalty has features of its own and is computed even at weight 0.
    """

    def step(self, x: Tensor, y: Tensor) -> Report:
        x_adv = self.adversary(x, y)
        loss_C = L_C(self.network(x), y)
        self.optimizers["C"].zero_grad()
        torch.autograd.backward(loss_C)
        self.optimizers["C"].step()

        loss_D = self.game.L_D(self.D_psi(self.F_theta(x), y), self.D_psi(self.F_theta(x_adv), y))
        if self.table.game == "wgan":
            share = torch.rand((len(x), 1), generator=self.noise, device=x.device)
            z, z_adv = self.F_theta(x), self.F_theta(x_adv)
            loss_D = loss_D + self.table.gp_weight * gradient_penalty(lambda z: self.D_psi(z, None), z, z_adv, share)
        self.optimizers["D"].zero_grad()
        torch.autograd.backward(loss_D)
        self.optimizers["D"].step()

        with torch.no_grad():
            metrics.accuracy(self.network(x_adv), y)

        self.optimizers["F"].zero_grad()
        loss_F = self.game.L_F(self.D_psi(self.F_theta(x_adv), y))
        torch.autograd.backward(loss_F)
        self.optimizers["F"].step()
        return {"L_C": loss_C.detach(), "L_D": loss_D.detach(), "L_F": loss_F.detach()}
