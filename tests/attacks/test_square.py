"""Test Square in every norm: the cost of a NaN, the end of a sample's search, and the region of its images."""

import pytest
import torch
from torch import Generator, Tensor

from afdctl.attacks.base import margin
from afdctl.attacks.norms import lp_norm
from tests.attacks.short import EPSILON, attack, images, net, setting

every_norm = pytest.mark.parametrize("norm", EPSILON)


@every_norm
def test_a_fooled_sample_costs_no_more_queries(norm: str):
    model, batch_sizes = net(10), []

    def counting(image: Tensor) -> Tensor:
        batch_sizes.append(len(image))
        logits: Tensor = model(image)
        return logits

    x, y = images(model)
    result = attack(setting("square", norm, queries=60), counting, x, y)
    assert 0 < result.fooled.sum() < len(x)
    # between the first call, which classifies x, and the last, which verifies x'
    assert batch_sizes[1:-1] == sorted(batch_sizes[1:-1], reverse=True)
    assert batch_sizes[-2] < batch_sizes[1]
    assert sum(batch_sizes) == result.forwards.sum()
    # x, the start and x' are passes too
    assert (result.forwards[~result.fooled] == 60 + 3).all()


@every_norm
def test_a_nan_answer_is_not_taken_and_the_search_continues(norm: str):
    model, calls = net(10), []
    x, y = images(model)

    def broken(image: Tensor) -> Tensor:
        calls.append(1)
        logits: Tensor = model(image)
        # the first call classifies x
        return logits * torch.nan if len(calls) % 2 == 0 else logits

    result = attack(setting("square", norm, queries=61), broken, x, y)
    assert result.x_adv.isfinite().all()
    assert len(calls) == 61 + 3
    assert (margin(model(result.x_adv), y) >= margin(model(x), y)).float().mean() > 0.9
    assert (margin(model(result.x_adv), y) > 0).any()


@every_norm
def test_stays_in_ball_and_box(norm: str):
    x = torch.rand(6, 3, 9, 7, generator=Generator().manual_seed(0))
    y, epsilon = torch.zeros(6), EPSILON[norm]
    result = attack(setting("square", norm, queries=30), lambda image: torch.eye(4)[:1].repeat(len(image), 1), x, y)
    assert not result.fooled.any()
    assert 0.5 * epsilon < lp_norm(result.x_adv - x, norm).max() <= epsilon * (1 + 1e-5)
    assert result.x_adv.min() >= 0
    assert result.x_adv.max() <= 1
