"""FGSM, PGD and MIM where the best perturbation is known."""

import pytest
import torch
from torch import Tensor

from tests.attacks.cases import attack, images, small_model
from tests.attacks.linear import Linear, model_and_images

STEPS = {"steps": 10, "step_size": None, "rel_step": 0.25, "early_stop": True}


def distance(model: Linear, x: Tensor, name: str) -> Tensor:
    """How large epsilon must be (n,): to the boundary, in L1 along the dense gradient."""
    w = model.weights.detach()
    per_epsilon = {"pgd_l2": w.norm(), "pgd_l1": w.norm() ** 2 / w.abs().sum()}.get(name, w.abs().sum())
    return model(x)[:, 1].abs().detach() / per_epsilon


@pytest.mark.parametrize("early_stop", [True, False])
@pytest.mark.parametrize("name", ["fgsm", "pgd_linf", "pgd_l2", "pgd_l1", "mim"])
def test_fools_two_classes_exactly_where_that_is_possible(name: str, early_stop: bool):
    """The gradient's direction is the same everywhere, so steps from x end at the best point."""
    model, x, y = model_and_images()
    model, x = model.double().requires_grad_(False), x.double()
    knobs = {"fgsm": {}, "mim": STEPS}.get(name, STEPS | {"random_start": False})
    knobs = knobs | {"early_stop": early_stop} if knobs else knobs
    distances = distance(model, x, name)
    for epsilon in distances.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.double)).tolist():
        found = attack(name, model, x, y, epsilon=epsilon, **knobs)
        # the median of an odd number of distances is one of them: there rounding decides
        clear = (distances / epsilon - 1).abs() > 1e-9
        assert torch.equal(found.fooled[clear], (distances < epsilon)[clear])
        assert torch.equal(model(found.x_adv).argmax(1) != y, found.fooled)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_random_start_changes_nothing_of_that(norm: str):
    model, x, y = model_and_images()
    distances = model.distance(x, norm)
    epsilon = distances.median().item()
    found = attack(f"pgd_{norm}", model, x, y, epsilon=epsilon, random_start=True, restarts=1, **STEPS | {"steps": 40})
    assert found.fooled[distances < 0.98 * epsilon].all()
    assert not found.fooled[distances > 1.0001 * epsilon].any()


def test_fgsm_ends_its_step_even_from_a_fooling_start():
    model, x = small_model(), images(32)
    y = model(x).argmax(1)
    y[:8] = (y[:8] + 1) % 5
    found = attack("fgsm", model, x, y, epsilon=0.1, random_start=True)
    assert (found.first_success_step[:8] == 0).any()
    assert not (found.x_adv == x).flatten(1).all(1).any()
    assert (found.forwards == 2).all()
    assert (found.backwards == 1).all()
