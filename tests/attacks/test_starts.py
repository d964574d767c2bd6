"""Where each adversary starts; a model without a gradient leaves it there."""

import pytest
import torch
from torch import Tensor, nn

from tests.attacks.test_contract import every_norm, generate, length

# no ball reaches the edges of the box around a grey pixel
EPSILON = {"linf": 0.05, "l2": 0.3, "l1": 0.4}


class Flat(nn.Module):
    """The same logits everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x.flatten(1)


def offsets(name: str, norm: str) -> Tensor:
    """How far 20000 starts (n, 2) are from an image of two grey pixels."""
    x = torch.full((20_000, 1, 2, 1), 0.5)
    x_adv = generate(name, norm, Flat(), x, torch.zeros(len(x), dtype=torch.long), epsilon=EPSILON[norm])
    return (x_adv - x).flatten(1)


@every_norm
def test_pgd_starts_anywhere_in_the_ball(norm: str):
    """Uniformly: in two dimensions the ball of radius r holds r^2 of it."""
    starts = offsets("pgd", norm)
    radii = length(starts, norm) / EPSILON[norm]
    for r in (0.25, 0.5, 0.75, 1.0001):
        assert (radii < r).float().mean().item() == pytest.approx(min(r, 1) ** 2, abs=0.02)
    assert (starts > 0).float().mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.02)


@every_norm
def test_apgd_starts_on_the_boundary(norm: str):
    starts = offsets("apgd_ce", norm)
    assert torch.allclose(length(starts, norm), torch.tensor(EPSILON[norm]), atol=1e-5)
    assert (starts > 0).float().mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.02)


@every_norm
def test_the_adversary_of_trades_starts_close_to_the_image(norm: str):
    starts = offsets("pgd_kl", norm)
    assert starts.std().item() == pytest.approx(0.001, rel=0.05)
    assert starts.mean().item() == pytest.approx(0, abs=1e-4)
