"""The contract of every defense in the registry."""

import math
from copy import deepcopy

import pytest
import torch
from torch import Generator, Tensor, nn

from afdctl import registry
from afdctl.defenses.base import Defense
from afdctl.models.feature_classifier import build
from afdctl.recipe.adversary import AdversaryConfig
from afdctl.recipe.defenses import DefenseConfig
from afdctl.training.adversary import Adversary
from tests.conftest import NoWaitingForTheDevice

every_defense = pytest.mark.parametrize("name", registry.DEFENSES)
y = torch.arange(24) % 3
x = torch.rand((3, 1, 8, 8), generator=Generator().manual_seed(1)).round()[y]  # a pattern a class, with noise
x = (0.2 + 0.4 * x + 0.2 * torch.rand(x.shape, generator=Generator().manual_seed(2))).clamp(0, 1)


def make(name: str, seed: int = 0, cosine_scale: float | None = None, **table: object) -> Defense:
    torch.manual_seed(seed)
    network = build("resnet18_mnist", width=2, cosine_scale=cosine_scale, channels=1, image_size=8, classes=3)
    attack = AdversaryConfig(name=registry.DEFENSES[name].adversary or "apgd_ce", epsilon=0.1, steps=2)
    adversary = Adversary(network, attack, Generator().manual_seed(2))
    cls = registry.load(registry.DEFENSES, name)
    settings = DefenseConfig.model_of({"name": name}).model_validate({"name": name, **table})
    defense: Defense = cls(settings, network, adversary, 3, Generator().manual_seed(3))
    return defense


def snapshot(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def moved(before: list[Tensor], module: nn.Module) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


@every_defense
def test_a_step_reports_finite_figures_and_leaves_no_gradients(name: str):
    defense = make(name)
    report = defense.step(x, y)
    assert {"L_C", "grad_C"} <= report.keys()
    for figure in report.values():
        assert figure.shape == ()
        assert not figure.requires_grad
        assert math.isfinite(figure.item())
    assert all(p.grad is None for module in defense.modules.values() for p in module.parameters())


@every_defense
def test_a_step_never_waits_for_the_device(name: str):
    defense = make(name)
    with NoWaitingForTheDevice():
        defense.step(x, y)


@every_defense
def test_labels_that_are_mixed_with_nothing_train_as_plain_ones(name: str):
    everything = {"classify": "both", "gp_weight": 1.0, "gp_conditional": True} if name == "afd" else {}
    plain, mixed = make(name, **everything), make(name, **everything)
    y_mixed = nn.functional.one_hot(y, 3).float()
    with NoWaitingForTheDevice():
        reports = plain.step(x, y), mixed.step(x, y_mixed)
    for figure, value in reports[0].items():
        torch.testing.assert_close(reports[1][figure], value)
    for part, module in plain.modules.items():
        for first, second in zip(module.parameters(), mixed.modules[part].parameters(), strict=True):
            torch.testing.assert_close(second, first)


@every_defense
def test_label_smoothing_changes_L_C_alone(name: str):
    plain, smooth = make(name).step(x, y), make(name, label_smoothing=0.3).step(x, y)
    other = plain.keys() - {"L_C", "grad_C"}
    assert not torch.equal(smooth["L_C"], plain["L_C"])
    assert all(torch.equal(smooth[figure], plain[figure]) for figure in other)


@every_defense
def test_a_margin_raises_L_C_alone(name: str):
    """HE: the adversary attacks the plain cosines, so x' and its metrics stay."""
    plain, wide = make(name, cosine_scale=5.0).step(x, y), make(name, cosine_scale=5.0, margin=0.2).step(x, y)
    other = plain.keys() - {"L_C", "grad_C"}
    assert wide["L_C"] > plain["L_C"]
    assert all(torch.equal(wide[figure], plain[figure]) for figure in other)


@every_defense
def test_nesterov_is_for_each_optimizer(name: str):
    defense = make(name, nesterov_C=True)
    settings = {loss: optimizer.param_groups[0]["nesterov"] for loss, optimizer in defense.optimizers.items()}
    assert settings == {loss: loss == "C" for loss in defense.optimizers}


@every_defense
def test_training_learns_the_batch(name: str):
    # small weights and many steps, so that the result does not depend on the processor's rounding
    defense = make(
        name,
        **{"trades": {"beta": 1.0}, "score": {"beta": 0.5, "lr_C": 0.5}, "matching": {"weight": 0.1}}.get(name, {}),
    )
    losses = [defense.step(x, y)["L_C"].item() for _ in range(50)]
    # the lowest of three steps: with a batch this small the loss on x' jumps
    assert min(map(sum, zip(losses, losses[1:], losses[2:], strict=False))) / 3 < 0.6 * losses[0]


@every_defense
def test_a_restored_defense_continues_to_the_bit(name: str):
    """Weights, running statistics, momenta and the power iterations of spectral norm are all in the state."""
    first, second = make(name), make(name, seed=9)
    for _ in range(2):
        first.step(x, y)
    second.load_state_dict(deepcopy(first.state_dict()))
    first.adversary, second.adversary = (lambda x, y: (x + 0.05).clamp(0, 1) for _ in range(2))
    for defense in (first, second):
        defense.step(x, y)
    for part, module in first.modules.items():
        other = second.modules[part].state_dict()
        assert all(torch.equal(v, other[k]) for k, v in module.state_dict().items() if isinstance(v, Tensor))


@every_defense
def test_learning_rates_are_the_recipe_s_times_the_factor(name: str):
    defense = make(name, lr_C=0.2)
    for factor in (0.1, 0.1, 0.01):
        defense.set_lr_factor(factor)
        assert defense.learning_rates()["lr_C"] == pytest.approx(0.2 * factor)


@every_defense
def test_a_defense_does_not_touch_the_global_random_state(name: str):
    defense = make(name)
    before = torch.get_rng_state()
    defense.step(x, y)
    assert torch.equal(torch.get_rng_state(), before)
