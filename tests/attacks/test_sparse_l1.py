"""Sparse steps and the exact projection in l1, against AutoAttack's own implementation and known optima."""

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, L1_projection
from torch import Generator, Tensor, nn

from afdctl.attacks.apgd import apgd, apgd_from
from afdctl.attacks.pgd import pgd, pgd_ce
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.attacks.sparse_l1 import project_exactly, sparse_direction


def l1(delta: Tensor) -> Tensor:
    return delta.flatten(1).abs().sum(1)


def test_projection_is_the_nearest_point(generator: Generator):
    x = torch.rand((64, 1, 6, 6), generator=generator, dtype=torch.double)
    # far away, near, and inside of the ball
    delta = torch.randn((64, 1, 6, 6), generator=generator, dtype=torch.double)
    delta *= torch.logspace(-3, 1, 64)[:, None, None, None]
    ours = project_exactly(x + delta, x, 2.0)
    # theirs is in single precision
    assert torch.allclose(ours, x + delta + L1_projection(x, delta, 2.0), atol=1e-4)
    assert l1(ours - x).max() <= 2 + 1e-9
    assert (l1(ours - x) < 1.9).any(), "some are inside"
    inside = ((x + delta >= 0) & (x + delta <= 1)).flatten(1).all(1) & (l1(delta) <= 2)
    assert inside.any()
    assert torch.allclose(ours[inside], (x + delta)[inside], atol=1e-12)


def test_projection_of_x_that_fills_its_room():
    """No component has more room than it moved, so that the box alone decides."""
    x = torch.ones(1, 1, 1, 3)
    assert torch.equal(project_exactly(x + torch.tensor([5.0, 1.0, 2.0]), x, 1.0), x)
    assert torch.equal(project_exactly(x - torch.tensor([5.0, 0.0, 0.0]), x, 1.0), torch.tensor([[[[0.0, 1.0, 1.0]]]]))


def test_direction_has_the_largest_components():
    gradient = torch.tensor([[[[3.0, -4.0, 0.5, 1.0, 0.0]]], [[[0.0, 0.0, 0.0, 0.0, 0.0]]]])
    found = sparse_direction(gradient, torch.tensor([0.4, 0.4]))
    assert found.flatten(1).tolist() == [[0.5, -0.5, 0, 0, 0], [0] * 5]
    assert sparse_direction(gradient, torch.tensor([0.0, 0.0]))[0].flatten().tolist() == [0, -1, 0, 0, 0]


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    return nn.Sequential(*layers).double().eval().requires_grad_(False)


@pytest.mark.parametrize("steps", [10, 50])
def test_parity_with_autoattack(model: nn.Module, generator: Generator, steps: int):
    x = torch.rand((32, 1, 16, 16), generator=generator, dtype=torch.double)
    y = model(x).argmax(1)
    theirs = APGDAttack(model, n_iter=steps, norm="L1", eps=5.0, loss="ce", device="cpu")
    theirs.init_hyperparam(x)
    torch.manual_seed(1)
    worst = theirs.attack_single_run(x, y)[0]
    torch.manual_seed(1)
    # they draw in single precision
    start = project_exactly(x + torch.randn(x.shape), x, 5.0)
    ours = apgd_from(model, x, start, y, norm="l1", epsilon=5.0, steps=steps, return_iterate="best_loss", share=0.2)
    losses = [nn.functional.cross_entropy(model(images), y).item() for images in (ours, worst)]
    # their projection rounds to single precision, so that other pixels count as changed and iterates soon differ
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


@pytest.mark.parametrize("attack", [apgd, pgd_ce])
def test_sparse_steps_find_more_than_dense_ones(model: nn.Module, generator: Generator, attack):
    x = torch.rand((32, 1, 16, 16), generator=generator, dtype=torch.double)
    y = model(x).argmax(1)
    x_adv = attack(model, x, y, norm="l1", epsilon=5.0, steps=20, generator=generator)
    dense = pgd(model, x, y, norm="l1", epsilon=5.0, steps=20, rng=SampleRNG(0, "test", range(32)), early_stop=False)

    def loss(images: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(images), y)

    assert l1(x_adv - x).max() <= 5 * (1 + 1e-5)
    assert loss(x_adv) - loss(x) > 1.5 * (loss(dense.x_adv) - loss(x))
