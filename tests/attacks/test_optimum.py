"""The exact optimum against a fine grid of all perturbations of two pixels."""

import pytest
import torch

from tests.attacks.optimum import Multiclass, optimum

ORDER = {"l1": 1, "l2": 2, "linf": torch.inf}
GRID = torch.cartesian_prod(*[torch.linspace(0, 1, 201, dtype=torch.double)] * 2)


@pytest.mark.parametrize("norm", ORDER)
@pytest.mark.parametrize("seed", range(4))
def test_no_point_of_a_grid_is_nearer_and_one_is_as_near(norm: str, seed: int):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn((3, 2), generator=generator, dtype=torch.double)
    model = Multiclass(weights, 0.3 * torch.randn(3, generator=generator, dtype=torch.double))
    x = torch.rand((6, 1, 1, 2), generator=generator, dtype=torch.double)
    y = model(x).argmax(1)
    exact = optimum(model, x, y, norm)
    labels = model(GRID.view(-1, 1, 1, 2)).argmax(1)
    for image, label, distance in zip(x, y, exact, strict=True):
        fooling = GRID[labels != label]
        if not len(fooling):
            assert distance == torch.inf
            continue
        nearest = torch.linalg.vector_norm(fooling - image.flatten(), ord=ORDER[norm], dim=1).min()
        assert distance <= nearest + 1e-12
        # the grid is 1/200 wide, and a boundary may meet it at a sharp angle
        assert nearest - distance < 0.03


def test_the_box_forbids_it():
    model = Multiclass(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([3.0, 0.0]))
    x, y = torch.zeros((1, 1, 1, 2)), torch.tensor([0])
    assert all(optimum(model, x, y, norm) == torch.inf for norm in ORDER)


def test_by_hand():
    """A gap of 1 to close with gains 2 and 1: 0.4 of the first is all its room, or shared."""
    model = Multiclass(torch.tensor([[0.0, 0.0], [2.0, 1.0]]), torch.tensor([2.2, 0.0]))
    x, y = torch.tensor([[[[0.6, 0.0]]]]), torch.tensor([0])
    assert optimum(model, x, y, "l1").item() == pytest.approx(0.4 + 0.2)
    assert optimum(model, x, y, "l2").item() == pytest.approx(5**-0.5)
    assert optimum(model, x, y, "linf").item() == pytest.approx(1 / 3)
