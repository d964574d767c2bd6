"""Test the minimum-norm attacks against the exact optimum of linear models and against foolbox's attacks."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.attacks.optimum import optimum, random_linear
from tests.attacks.smallest import ATTACKS, attack, conv, images, length

PAPER = {"steps": 100, "binary_search_steps": 9, "initial_const": 1e-3}


@pytest.mark.parametrize(
    ("name", "scale", "knobs", "ratio"),
    [
        ("ddn", 100, {"steps": 100}, 1.05),
        ("deepfool l2", 1, {}, 1.05),
        ("deepfool linf", 1, {}, 1.06),
        ("cw", 1, {**PAPER, "step_size": 0.01}, 1.02),
    ],
)
def test_near_the_exact_optimum_of_a_linear_model_and_never_nearer(
    name: str, scale: float, knobs: dict[str, Any], ratio: float
):
    model, x, y = random_linear(64, scale=scale)
    found = attack(name, model, x, y, **knobs)
    exact = optimum(model, x, y, ATTACKS[name]["norm"])
    assert found.fooled.all()
    ratios = length(found, x, name) / exact
    assert ratios.min() >= 1 - 1e-4
    assert ratios.median() <= ratio


@pytest.mark.parametrize("scale", [1e-3, pytest.param(1e3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["deepfool l2", "deepfool linf", pytest.param("cw", marks=pytest.mark.slow)])
def test_the_scale_of_logits_hardly_matters(name: str, scale: float):
    knobs = {**PAPER, "step_size": 0.01} if name == "cw" else {}
    (model, x, y), (scaled, _, _) = random_linear(50), random_linear(50, scale=scale)
    one, other = (length(attack(name, m, x, y, **knobs), x, name) for m in (model, scaled))
    for epsilon in one.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=one.dtype)):
        assert ((one > epsilon).double().mean() - (other > epsilon).double().mean()).abs() <= 0.021


def test_ddn_sees_slopes_that_cross_entropy_hides():
    """In single precision the cross-entropy of such logits is flat at every image."""
    model, x, y = random_linear(32, scale=1e5)
    assert torch.equal(torch.softmax(model(x), 1).amax(1), torch.ones(32))
    found = attack("ddn", model, x, y, steps=100)
    assert found.fooled.all()
    assert (length(found, x, "ddn") / optimum(model, x, y, "l2")).median() <= 1.05


class Shelf(nn.Module):
    """Flat near grey, sloping away from it: a model whose slope only a random step finds."""

    def forward(self, x: Tensor) -> Tensor:
        away = ((x - 0.5).flatten(1).norm(dim=1) - 0.5).relu()
        return torch.stack([torch.full_like(away, 0.1), away], 1)


def test_ddn_leaves_a_flat_region_in_the_direction_of_its_draws():
    x, y = torch.full((4, 1, 8, 8), 0.5), torch.zeros(4, dtype=torch.long)
    found, again = attack("ddn", Shelf(), x, y), attack("ddn", Shelf(), x, y)
    assert found.fooled.all()
    assert torch.equal(found.x_adv, again.x_adv)
    assert length(found, x, "ddn").max() < 0.65
    assert not torch.equal(found.x_adv[0], found.x_adv[1])


def test_confidence_is_a_margin():
    model, x, y = random_linear(16)
    plain, sure = (attack("cw", model, x, y, confidence=confidence) for confidence in (0.0, 0.3))
    logits = model(sure.x_adv)[sure.fooled]
    gap = (
        logits.scatter(1, y[sure.fooled][:, None], -torch.inf).amax(1) - logits.gather(1, y[sure.fooled][:, None])[:, 0]
    )
    assert sure.fooled.any()
    assert gap.min() >= 0.3 - 1e-6
    assert (length(sure, x, "cw") >= length(plain, x, "cw"))[sure.fooled].all()


@pytest.mark.parametrize("step_size", [0.05, pytest.param(0.01, marks=pytest.mark.slow)])
def test_abort_early_saves_passes_and_no_distance(step_size: float):
    """Without it every sample takes all steps of all rounds."""
    model, x, y = random_linear(32)
    knobs = {**PAPER, "step_size": step_size}
    whole, early = (attack("cw", model, x, y, **knobs, abort_early=abort) for abort in (False, True))
    # one pass classifies x
    assert set(whole.forwards.tolist()) == {1 + PAPER["steps"] * PAPER["binary_search_steps"]}
    assert early.forwards.sum() < 0.9 * whole.forwards.sum()
    assert whole.fooled.all()
    assert torch.equal(early.fooled, whole.fooled)
    assert (length(early, x, "cw") <= 1.001 * length(whole, x, "cw")).all()


def test_more_rounds_of_cw_never_end_farther():
    model, x, y = random_linear(16)
    few, some, many = (length(attack("cw", model, x, y, binary_search_steps=n), x, "cw") for n in (4, 6, 10))
    assert (few >= some).all()
    assert (some >= many).all()
    assert few.mean() > some.mean()


def theirs(name: str, model: nn.Module, x: Tensor, y: Tensor, **knobs: Any) -> Tensor:
    """foolbox's images."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import foolbox
    attacks = {
        "ddn": foolbox.attacks.DDNAttack,
        "deepfool l2": foolbox.attacks.L2DeepFoolAttack,
        "deepfool linf": foolbox.attacks.LinfDeepFoolAttack,
        "cw": foolbox.attacks.L2CarliniWagnerAttack,
    }
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    x_adv: Tensor = attacks[name](**knobs).run(wrapped, x, foolbox.criteria.Misclassification(y))
    return x_adv


@pytest.mark.parametrize(("name", "tolerance"), [("ddn", 1e-5), ("deepfool l2", 0.02), ("deepfool linf", 0.02)])
def test_parity_with_foolbox(name: str, tolerance: float):
    # double precision: in single, an iterate on the boundary may fool one and not the other
    model, x = conv(dtype=torch.double).requires_grad_(False), images(48, dtype=torch.double)
    y = model(x).argmax(1)
    knobs = {key: value for key, value in ATTACKS[name].items() if key != "norm"}
    found, x_adv = attack(name, model, x, y), theirs(name, model, x, y, **knobs)
    order = torch.inf if name.endswith("linf") else 2
    their_length = torch.linalg.vector_norm((x_adv - x).flatten(1), ord=order, dim=1)
    assert torch.equal(found.fooled, model(x_adv).argmax(1) != y)
    assert ((length(found, x, name) - their_length).abs() / their_length)[found.fooled].max() < tolerance


@pytest.mark.parametrize("step_size", [0.05, 0.01])
def test_cw_without_early_stop_ends_where_foolbox_does(step_size: float):
    model, x = conv(dtype=torch.double).requires_grad_(False), images(32, dtype=torch.double)
    y = model(x).argmax(1)
    knobs = {"steps": 30, "binary_search_steps": 6, "initial_const": 1e-2, "abort_early": False}
    result = attack("cw", model, x, y, **knobs, step_size=step_size)
    x_adv = theirs("cw", model, x, y, **knobs, stepsize=step_size)
    assert result.fooled.any()
    # foolbox returns a black image where nothing fooled
    assert torch.equal(result.fooled, (x_adv != 0).flatten(1).any(1))
    # its constants are in single precision, so an iterate on the boundary may fool for one of the two only
    their_length = torch.linalg.vector_norm((x_adv - x).flatten(1), dim=1)
    difference = ((length(result, x, "cw") - their_length).abs() / their_length)[result.fooled]
    assert difference.quantile(0.9) < 1e-4
    assert difference.max() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("step_size", [0.05, 0.01])
def test_cw_is_as_strong_as_foolbox_s(step_size: float):
    model, x = conv().requires_grad_(False), images(100)
    y = model(x).argmax(1)
    found = attack("cw", model, x, y, **PAPER, step_size=step_size)
    x_adv = theirs("cw", model, x, y, **PAPER, stepsize=step_size)
    one = length(found, x, "cw").where(found.fooled, torch.inf)
    other = torch.linalg.vector_norm((x_adv - x).double().flatten(1), dim=1)
    # what they return where nothing fooled
    other[(x_adv == 0).flatten(1).all(1)] = torch.inf
    grid = other[other.isfinite()].quantile(torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=other.dtype))
    gaps = torch.stack([(one > epsilon).double().mean() - (other > epsilon).double().mean() for epsilon in grid])
    assert gaps.abs().mean() <= 0.01
    # foolbox ends a round for the whole batch, so a few samples get other constants
    assert gaps.abs().max() <= 0.031
