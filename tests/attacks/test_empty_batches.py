"""No model is called on an empty batch: many cannot take one."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from afdctl.data.base import ImageTensors
from afdctl.data.loader import Split
from afdctl.evaluation.batch import prepare_model, search
from afdctl.models.feature_classifier import build
from afdctl.recipe.schema import Attack, Evaluation, Model
from afdctl.suites.schema import ATTACKS
from afdctl.training.evaluate import evaluate
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
def test_an_attack_leaves_a_model_alone_that_it_has_no_image_for(attack: Case, n: int, right: int):
    model, x = small_model(), images(n)
    y = labels(model, x, right) if n else torch.zeros(0, dtype=torch.long)
    found = attack(Picky(model), x, y)
    assert found.x_adv.shape == x.shape


@pytest.mark.parametrize("strong", [False, True], ids=["robust", "fooled"])
@every_attack
def test_nor_does_one_that_fools_all_or_none(attack: Case, strong: bool):
    """What is left after a part, a restart or an epsilon may be nobody."""
    model, x = small_model(), images(6)
    epsilon = {"epsilon": 1e-6 if not strong else 10 * EPSILON[attack.norm]}
    attack(Picky(model), x, labels(model, x, 6), **epsilon)


@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize("name", ATTACKS)
def test_nor_does_a_sweep(name: str, right: int):
    """It attacks those alone that are classified correctly."""
    case = next(case for case in cases() if case.name == name)
    least, most = 0.01 * EPSILON[case.norm], 4 * EPSILON[case.norm]
    knobs: dict[str, Any] = {key: value for key, value in case.knobs.items() if key in ATTACKS[name].model_fields}
    model, x = small_model(), images(6)
    y = labels(model, x, right)
    attacked = torch.arange(6) < right
    for schedule in ATTACKS[name].schedules:
        spec = ATTACKS[name](name=name, epsilons=(0.0, least, most), schedule=schedule, **knobs)
        found = search(spec, 0, prepare_model(Picky(model), lambda: None), x[attacked], y[attacked], attacked, 0)
        assert all(len(one.x_adv) == right for one in found.values())


def test_nor_does_a_validation_that_no_image_survives():
    """PGD fools all of the images, so that Square has nobody to attack."""
    network = build(Model(encoder="resnet18_mnist", width=2), channels=1, image_size=8, classes=5)
    x = (255 * images(12)).to(torch.uint8)
    with torch.no_grad():
        y = network.eval()(x / 255).argmin(1)
    split, table = Split(ImageTensors(x, y), "cpu"), Evaluation(batch_size=4, steps=1, square_queries=5)
    network.register_forward_pre_hook(lambda _, given: Picky.refuse(given[0]))
    accuracy = evaluate(network, split, table, Attack(epsilon=0.1), torch.Generator())
    assert (accuracy.acc_nat, accuracy.acc_adv, accuracy.acc_square) == (0, 0, 0)
