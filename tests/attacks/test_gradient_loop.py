"""Early stopping, restarts and NaN in attacks with a budget."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from afdctl.attacks.base import NOT_FOUND
from tests.attacks.cases import EPSILON, attack, images, small_model


@pytest.mark.parametrize("name", ["pgd_linf", "pgd_l2", "pgd_l1", "mim"])
def test_stopping_early_takes_the_first_fooling_iterate_of_the_textbook(name: str):
    model, x = small_model().double(), images(32).double()
    y = model(x).argmax(1)
    epsilon = EPSILON[name.removeprefix("pgd_").replace("mim", "linf")]
    knobs: dict[str, Any] = {"epsilon": epsilon, "step_size": epsilon / 8}
    early = attack(name, model, x, y, steps=12, early_stop=True, **knobs)
    textbook = attack(name, model, x, y, steps=12, early_stop=False, **knobs)
    assert torch.equal(early.first_success_step, textbook.first_success_step)
    assert len(early.first_success_step.unique()) > 3
    for step in early.first_success_step.unique().tolist():
        there = early.first_success_step == step
        taken = 12 if step == NOT_FOUND else step
        iterate = attack(name, model, x, y, steps=max(taken, 1), early_stop=False, **knobs)
        if step:
            assert torch.allclose(early.x_adv[there], iterate.x_adv[there], rtol=0, atol=1e-9)
        assert (early.forwards[there] == taken + 1).all()
        assert (early.backwards[there] == min(taken + 1, 12)).all()
    assert (textbook.forwards == 13).all()
    assert (textbook.backwards == 12).all()


class Door(nn.Module):
    """Fooled where the first pixel is above 0.6, and without any slope: only where an attack starts matters."""

    def forward(self, x: Tensor) -> Tensor:
        opened = (x[:, 0, 0, :1] > 0.6).to(x.dtype) + 0 * x[:, 0, 0, :1]
        return torch.cat([0.5 + 0 * opened, opened], 1)


@pytest.mark.parametrize("early_stop", [True, False])
def test_restarts_attack_only_samples_not_fooled_yet(early_stop: bool):
    x = torch.full((64, 1, 4, 4), 0.5)
    y = torch.zeros(64, dtype=torch.long)
    knobs = {"epsilon": 0.2, "steps": 3, "random_start": True, "early_stop": early_stop}
    once, often = (attack("pgd_linf", Door(), x, y, restarts=restarts, **knobs) for restarts in (1, 6))
    assert torch.equal(often.x_adv[once.fooled], once.x_adv[once.fooled])
    assert torch.equal(often.forwards[once.fooled], once.forwards[once.fooled])
    assert often.fooled[once.fooled].all()
    assert 0 < once.fooled.sum() < often.fooled.sum() <= 64
    # three steps lead from one start to the next
    starts = torch.where(often.fooled, often.first_success_step.div(3, rounding_mode="floor"), 5)
    assert (often.first_success_step[often.fooled] % 3 == 0).all()
    whole = torch.full_like(starts, 0 if early_stop else 1)
    whole[~often.fooled] = 1
    assert torch.equal(often.forwards, 4 * starts + 1 + 3 * whole)
    assert torch.equal(often.backwards, 3 * starts + 1 + 2 * whole)


def test_without_a_random_start_there_is_nothing_to_restart():
    x = torch.full((4, 1, 4, 4), 0.5)
    found = attack("pgd_linf", Door(), x, torch.zeros(4).long(), epsilon=0.2, steps=3, random_start=False, restarts=9)
    assert (found.forwards == 4).all()


class Window(nn.Module):
    """A slope that leads right through the one place where it is fooled, or where it answers NaN."""

    def __init__(self, answer: float) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        score = 0.1 * x[:, 0, 0, :1]
        there = (x[:, 0, 0, :1] - 0.56).abs() < 0.02
        return torch.cat([0.5 + 0 * score, torch.where(there, self.answer + score, score)], 1)


def test_restarts_without_early_stop_keep_the_first_success_of_all():
    """The last iterates are all outside the window, so every sample starts again."""
    x, y = torch.full((32, 1, 4, 4), 0.5), torch.zeros(32).long()
    knobs = {"epsilon": 0.2, "steps": 9, "rel_step": 0.25, "random_start": True, "early_stop": False}
    once, often = (attack("pgd_linf", Window(2.0), x, y, restarts=restarts, **knobs) for restarts in (1, 4))
    assert 0 < once.fooled.sum() < often.fooled.sum()
    assert torch.equal(often.first_success_step[once.fooled], once.first_success_step[once.fooled])
    assert (often.first_success_step[often.fooled & ~once.fooled] >= 9).all()
    assert (often.forwards == 40).all()


@pytest.mark.parametrize("name", ["pgd_linf", "mim"])
def test_stops_where_the_model_has_no_answer(name: str):
    """MIM's momentum would lead it past the place, and the sample would look robust."""
    x, y = torch.full((2, 1, 4, 4), 0.5), torch.zeros(2).long()
    start = {"random_start": False} if name == "pgd_linf" else {}
    found = attack(name, Window(torch.nan), x, y, epsilon=0.2, steps=10, step_size=0.03, early_stop=True, **start)
    assert Window(torch.nan)(found.x_adv).isnan().any(1).all()
    assert not found.fooled.any()
    assert (found.forwards == 3).all()


class Kink(nn.Module):
    """An answer everywhere, but at 1/2 a gradient of NaN in each pixel but the first."""

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(1)
        score = pixels[:, :1] + 0 * (pixels - 0.5).square().sum(1, keepdim=True).sqrt()
        return torch.cat([0.55 + 0 * score, score], 1)


@pytest.mark.parametrize("name", ["fgsm", "pgd_linf", "pgd_l2", "pgd_l1", "mim"])
@pytest.mark.parametrize("model", [Kink(), Window(torch.nan)], ids=["gradient", "answer"])
def test_nan_never_gets_into_an_image(name: str, model: nn.Module):
    x, y = torch.full((2, 1, 4, 4), 0.5), torch.zeros(2).long()
    x[1] = 0.57
    knobs = {} if name == "fgsm" else {"steps": 4, "early_stop": False}
    found = attack(name, model, x, y, epsilon=0.2, **knobs)
    assert ((found.x_adv >= 0) & (found.x_adv <= 1)).all()


def test_needs_neither_frozen_parameters_nor_gradients_enabled():
    model, x = small_model().requires_grad_(True), images(8)
    with torch.no_grad():
        y = model(x).argmax(1)
        found = attack("pgd_linf", model, x, y, epsilon=0.1, steps=3)
    assert found.fooled.any()
    assert not found.x_adv.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
