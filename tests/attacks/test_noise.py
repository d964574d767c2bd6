"""Test which noise is drawn, and when the attack stops."""

import pytest
import torch
from torch import Tensor, nn

from afdctl.attacks.base import NOT_FOUND
from afdctl.attacks.noise import noise
from afdctl.attacks.sample_rng import SampleRNG
from tests.attacks.cases import length


class Corner(nn.Module):
    """Fooled where the first two pixels are above 1/2: in one of four corners of a ball around grey."""

    def forward(self, x: Tensor) -> Tensor:
        opened = (x.flatten(1)[:, :2] > 0.5).all(1, keepdim=True).to(x.dtype)
        return torch.cat([0.5 + 0 * opened, opened], 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_draws_at_the_edge_until_one_fools(norm: str):
    x = torch.full((2000, 1, 2, 2), 0.5)
    draws = SampleRNG(0, "test", range(2000))
    found = noise(Corner(), x, torch.zeros(2000).long(), epsilon=0.2, rng=draws, norm=norm, samples=3)
    delta = found.x_adv - x
    assert torch.allclose(length(delta, norm).float(), torch.tensor(0.2), atol=1e-6)
    if norm == "linf":
        assert torch.allclose(delta.abs(), torch.tensor(0.2), atol=1e-6)
    for number in (1, 2, 3):
        share = (found.first_success_step == number).float().mean().item()
        assert share == pytest.approx(0.25 * 0.75 ** (number - 1), abs=0.03)
    assert torch.equal(found.forwards, torch.where(found.fooled, found.first_success_step, 3))
    assert not found.backwards.any()
    assert (found.first_success_step != NOT_FOUND).any()
