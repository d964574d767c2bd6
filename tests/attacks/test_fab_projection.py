"""Test that FAB's projection in L-infinity equals the library's, and ends on any input."""

import pytest
import torch
from pyautoattack.fab_projections import projection_linf as with_a_sort
from torch import Generator, Tensor

from afdctl.attacks.fab import plane_projection_linf


def planes(pixels: int, reach: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points of which many are on the box, as the background of a digit is, and planes with some slopes of 0."""
    generator = Generator().manual_seed(seed)
    x = (2 * torch.rand(40, pixels, generator=generator) - 0.7).clamp(0, 1)
    weight = torch.randn(40, pixels, generator=generator)
    weight[torch.rand(40, pixels, generator=generator) < 0.1] = 0
    away = reach * weight.abs().sum(1) * torch.randn(40, generator=generator)
    return x, weight, (weight * x).sum(1) + away


@pytest.mark.parametrize("pixels", [3, 64, 784])
@pytest.mark.parametrize("reach", [0.001, 0.1, 0.5, 5], ids=["near", "far", "farther", "out of reach"])
def test_is_the_librarys_bit_by_bit(pixels: int, reach: float):
    for seed in range(5):
        x, weight, offset = planes(pixels, reach, seed)
        assert torch.equal(plane_projection_linf(x, weight, offset), with_a_sort(x, weight, offset))


def test_lands_on_the_plane_inside_the_box():
    x, weight, offset = planes(784, 0.05, 0)
    landed = x + plane_projection_linf(x, weight, offset)
    assert landed.min() >= 0
    assert landed.max() <= 1
    assert torch.allclose((weight * landed).sum(1), offset, atol=1e-3)


@pytest.mark.parametrize("broken", [0.0, torch.nan, torch.inf])
def test_ends_on_planes_that_are_none(broken: float):
    x, weight, offset = planes(64, 0.1, 0)
    weight[3] = broken
    step = plane_projection_linf(x, weight, offset)
    assert torch.equal(step[:3], plane_projection_linf(x[:3], weight[:3], offset[:3]))
