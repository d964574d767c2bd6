"""A discriminator trained afresh on frozen features: how far natural and adversarial ones could be told apart."""

from typing import Final

import torch
from torch import Tensor, nn

from afdctl import metrics
from afdctl.defenses.base import fusible
from afdctl.losses import GAMES
from afdctl.models.discriminator import fc3_pd

HIDDEN: Final = 64
STEPS: Final = 400
BATCH: Final = 128
RATE: Final = 2e-3


def alpha_of_probe(z: Tensor, z_adv: Tensor, y: Tensor, classes: int, seed: int) -> Tensor:
    """alpha(h) of Eq. 6 of fresh discriminators, measured on samples that they were not trained on.

    z, z' (n, m) and y (n,): those at even places train the first, which is measured at the odd ones, and the other way
    round; both give the mean. The network is the paper's discriminator without its spectral norm, which would hold it
    back, trained by L_D of Eq. 9.
    """
    halves = torch.arange(len(y), device=y.device) % 2 == 0
    alphas = []
    for training in (halves, ~halves):
        probe = train(z[training], z_adv[training], y[training], classes, seed)
        with torch.no_grad():
            nat, adv = probe(z[~training], y[~training]), probe(z_adv[~training], y[~training])
        alphas.append(metrics.alpha_h(nat, adv))
    return torch.stack(alphas).mean()


class Standardised(nn.Module):
    """A discriminator behind features brought to mean 0 and deviation 1."""

    def __init__(self, body: nn.Module, z: Tensor) -> None:
        super().__init__()
        self.body, self.mean = body, z.mean(0)
        self.std = z.std(0).clamp(min=1e-6)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        scores: Tensor = self.body((z - self.mean) / self.std, y)
        return scores


def train(z: Tensor, z_adv: Tensor, y: Tensor, classes: int, seed: int) -> nn.Module:
    """A probe after `STEPS` batches of pairs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = fc3_pd(z.shape[1], classes, HIDDEN, lambda layer: layer).to(z.device)
    probe = Standardised(body, torch.cat([z, z_adv]))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(body.parameters(), RATE, weight_decay=1e-4, fused=fusible(body.parameters()))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(y), (min(BATCH, len(y)),), generator=generator).to(y.device)
        nat, adv = probe(torch.cat([z[rows], z_adv[rows]]), y[rows].repeat(2)).chunk(2)
        loss = GAMES["dcgan"].L_D(nat, adv)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return probe.eval()
