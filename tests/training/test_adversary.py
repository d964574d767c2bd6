"""A recipe's [attack] table reaches the attack, and the network is attacked as it is."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from afdctl import registry
from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.recipe.schema import Attack
from afdctl.training.adversary import Adversary

x, y = torch.rand((16, 1, 8, 8), generator=Generator().manual_seed(1)), torch.arange(16) % 3


@pytest.fixture
def network() -> FeatureClassifier:
    torch.manual_seed(0)
    return build("resnet18_mnist", width=2, channels=1, image_size=8, classes=3)


@pytest.mark.parametrize("name", registry.ADVERSARIES)
def test_attacks_the_network_as_it_is_now(name: str, network: FeatureClassifier):
    """An update between two batches is seen, though the adversary keeps a twin."""
    attack = Attack(name=name, epsilon=0.1, steps=1)
    generator = Generator().manual_seed(5)
    adversary = Adversary(network, attack, generator)
    before = adversary(x, y)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    generator.manual_seed(5)
    after = adversary(x, y)
    assert torch.equal(after, Adversary(network, attack, Generator().manual_seed(5))(x, y))
    assert not torch.equal(after, before)


def knobs(network: FeatureClassifier, attack: Attack, monkeypatch: pytest.MonkeyPatch, epsilon: float) -> Any:
    """What an attack is called with once a warm-up has set `epsilon`."""
    told: dict[str, Any] = {}

    def recorder(model: torch.nn.Module, x: Tensor, y: Tensor, **knobs: Any) -> Tensor:
        told.update(knobs)
        return x

    generator = Generator()
    monkeypatch.setattr("afdctl.attacks.pgd.pgd_ce", recorder)
    adversary = Adversary(network, attack, generator)
    adversary.table = attack.model_copy(update={"epsilon": epsilon})
    adversary(x, y)
    assert told.pop("generator") is generator
    return told


def test_every_knob_of_the_table_arrives(network: FeatureClassifier, monkeypatch: pytest.MonkeyPatch):
    table = {"norm": "l2", "steps": 7, "step_size": 0.03, "random_start": False, "return_iterate": "last_success"}
    attack = Attack(name="pgd", epsilon=0.5, **table)
    assert knobs(network, attack, monkeypatch, epsilon=0.25) == table | {"epsilon": 0.25}


def test_without_a_step_size_the_attack_chooses(network: FeatureClassifier, monkeypatch: pytest.MonkeyPatch):
    attack = Attack(name="pgd", epsilon=0.5, steps=7)
    assert "step_size" not in knobs(network, attack, monkeypatch, epsilon=0.5)
