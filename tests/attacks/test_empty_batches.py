"""Test that no model is called on an empty batch, which many models do not accept."""

import pytest
import torch
from torch import Tensor, nn

from tests.attacks.cases import EPSILON, Case, cases, images, small_model


class Picky(nn.Module):
    """Raises for an empty batch, as a reshape with -1 does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @staticmethod
    def refuse(x: Tensor) -> None:
        assert len(x), "called on an empty batch"

    def forward(self, x: Tensor) -> Tensor:
        self.refuse(x)
        logits: Tensor = self.model(x)
        return logits


every_attack = pytest.mark.parametrize("attack", list(cases()), ids=str)


def labels(model: nn.Module, x: Tensor, right: int) -> Tensor:
    """The model's own classes for the first `right` images, another class for the rest."""
    logits = model(x)
    return torch.where(torch.arange(len(x)) < right, logits.argmax(1), logits.argmin(1))


@pytest.mark.parametrize(("n", "right"), [(0, 0), (4, 0), (4, 1)])
@every_attack
def test_an_attack_without_images_does_not_call_the_model(attack: Case, n: int, right: int):
    model, x = small_model(), images(n)
    y = labels(model, x, right) if n else torch.zeros(0, dtype=torch.long)
    found = attack(Picky(model), x, y)
    assert found.x_adv.shape == x.shape


@pytest.mark.parametrize("strong", [False, True], ids=["robust", "fooled"])
@every_attack
def test_an_attack_that_fools_all_or_none_calls_no_empty_batch(attack: Case, strong: bool):
    """No sample may remain after a part, a restart or an epsilon."""
    model, x = small_model(), images(6)
    epsilon = {"epsilon": 1e-6 if not strong else 10 * EPSILON[attack.norm]}
    attack(Picky(model), x, labels(model, x, 6), **epsilon)
