"""Adversarial weight perturbation around every defense."""

import pytest
import torch
from torch import Generator, Tensor

from afdctl import registry
from afdctl.defenses.awp import with_awp
from afdctl.defenses.base import Defense, Report
from afdctl.defenses.build import make_defense
from afdctl.errors import RecipeError
from tests.conftest import NoWaitingForTheDevice
from tests.defenses.plain import assert_same_figures, assert_same_weights, weights, x_adv
from tests.defenses.test_contract import make, x, y

GAMMA = 0.05
every_defense = pytest.mark.parametrize("name", registry.DEFENSES)


def perturbed(name: str, gamma: float = GAMMA, **table: object) -> Defense:
    """A defense whose step has AWP."""
    defense = make(name, awp_gamma=gamma, **table)
    vars(defense)["step"] = with_awp(defense)
    return defense


def test_a_step_is_the_definition():
    """Gradient g at w, gradient at w + gamma ||w|| g / ||g||, and its step of SGD from w."""
    defense, twin = perturbed("adversarial"), make("adversarial")
    defense.adversary = lambda x, y: x_adv
    report = defense.step(x, y)

    def loss() -> Tensor:
        return torch.nn.functional.cross_entropy(twin.network(x_adv), y)

    theta_phi = weights(twin.network)
    moves = [
        GAMMA * w.detach().norm() * g / g.norm() if w.ndim > 1 else torch.zeros_like(w)
        for w, g in zip(theta_phi, torch.autograd.grad(loss(), theta_phi), strict=True)
    ]
    with torch.no_grad():
        for w, move in zip(theta_phi, moves, strict=True):
            w += move
    worst = loss()
    gradients = torch.autograd.grad(worst, theta_phi)
    with torch.no_grad():
        for w, g, move in zip(theta_phi, gradients, moves, strict=True):
            w -= 0.1 * (g + 1e-4 * w) + move
    assert_same_weights(weights(defense.network), theta_phi)
    assert report["L_C"].item() == pytest.approx(worst.item(), rel=1e-4)


@every_defense
def test_without_a_move_it_is_the_plain_step(name: str):
    """The rehearsal leaves nothing behind: running statistics, spectral norm, momenta, and x' is made once."""
    defense, plain = perturbed(name, gamma=1e-12), make(name)
    for _ in range(2):
        reports = defense.step(x, y), plain.step(x, y)
    assert_same_figures(*reports)
    for part, module in plain.modules.items():
        for key, value in module.state_dict().items():
            if isinstance(value, Tensor):
                torch.testing.assert_close(defense.modules[part].state_dict()[key], value, rtol=1e-3, atol=1e-5)
    assert torch.equal(defense.adversary.generator.get_state(), plain.adversary.generator.get_state())


@pytest.mark.parametrize("name", ["natural", "adversarial", "trades", "mart", "score", "alp"])
def test_the_move_raises_the_loss(name: str):
    assert perturbed(name).step(x, y)["L_C"] > make(name).step(x, y)["L_C"]


@every_defense
def test_the_step_changes_nothing_else_and_never_waits(name: str):
    defense = perturbed(name)
    adversary = defense.adversary
    before = [dict(vars(optimizer)) for optimizer in defense.optimizers.values()]
    with NoWaitingForTheDevice():
        defense.step(x, y)
    assert defense.adversary is adversary
    assert [vars(optimizer).keys() for optimizer in defense.optimizers.values()] == [own.keys() for own in before]
    assert all(p.grad is None for module in defense.modules.values() for p in module.parameters())


def test_the_key_is_all_that_a_recipe_needs():
    made, plain = make("adversarial", awp_gamma=GAMMA), make("adversarial")
    defense = make_defense(made.table, made.network, made.adversary, 3, Generator())
    assert defense.step(x, y)["L_C"] > plain.step(x, y)["L_C"]


def test_the_warm_up_is_without_it():
    defense, plain = perturbed("adversarial", awp_warmup_epochs=2), make("adversarial")
    for epoch in range(2):
        defense.epoch = epoch
        assert torch.equal(defense.step(x, y)["L_C"], plain.step(x, y)["L_C"])
    defense.epoch = 2
    assert defense.step(x, y)["L_C"] > plain.step(x, y)["L_C"]


class Counting(Defense):
    """A defense as a user writes it: an optimizer and an attribute that counts, and a loss of its own."""

    step_of_it = 0

    def step(self, x: Tensor, y: Tensor) -> Report:
        self.step_of_it += 1
        loss = self.L_C(self.network(self.adversary(x, y)), y)
        self.optimizers["C"].zero_grad()
        loss.backward()
        if self.step_of_it:
            self.optimizers["C"].step()
        return {"L_C": loss.detach()}


def counting() -> Counting:
    made = make("adversarial", awp_gamma=GAMMA)
    defense = Counting(made.table, made.network, made.adversary, 3, Generator())
    defense.step_of_it = 0
    return defense


def test_a_defense_with_its_own_update_and_counter():
    defense, plain = counting(), make("adversarial")
    report = with_awp(defense)(x, y)
    assert defense.step_of_it == 1
    assert report["L_C"] > plain.step(x, y)["L_C"]


def test_a_step_that_moves_no_weight_is_an_error():
    defense = counting()
    defense.step_of_it = -1
    with pytest.raises(RecipeError, match=r"step\(\) moves no weight"):
        with_awp(defense)(x, y)
