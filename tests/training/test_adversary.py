"""Test that the recipe's [attack] table reaches the attack, which sees the network's current weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from afdctl import registry
from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.recipe.adversary import AdversaryConfig
from afdctl.training.adversary import Adversary

x, y = torch.rand((16, 1, 8, 8), generator=Generator().manual_seed(1)), torch.arange(16) % 3


@pytest.fixture
def network() -> FeatureClassifier:
    torch.manual_seed(0)
    return build("resnet18_mnist", width=2, channels=1, image_size=8, classes=3)


@pytest.mark.parametrize("name", registry.ADVERSARIES)
def test_attacks_the_current_weights(name: str, network: FeatureClassifier):
    """The adversary keeps a fused copy, which must follow updates of the network."""
    attack = AdversaryConfig(name=name, epsilon=0.1, steps=1)
    generator = Generator().manual_seed(5)
    adversary = Adversary(network, attack, generator)
    before = adversary(x, y)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    generator.manual_seed(5)
    after = adversary(x, y)
    assert torch.equal(after, Adversary(network, attack, Generator().manual_seed(5))(x, y))
    assert not torch.equal(after, before)


def attack_arguments(
    network: FeatureClassifier, attack: AdversaryConfig, monkeypatch: pytest.MonkeyPatch, epsilon: float
) -> Any:
    """Return the arguments of the attack after a schedule has set `epsilon`."""
    arguments: dict[str, Any] = {}

    def record(model: torch.nn.Module, x: Tensor, y: Tensor, **kwargs: Any) -> Tensor:
        arguments.update(kwargs)
        return x

    generator = Generator()
    monkeypatch.setattr("afdctl.attacks.pgd.pgd_ce", record)
    adversary = Adversary(network, attack, generator)
    adversary.table = attack.model_copy(update={"epsilon": epsilon})
    adversary(x, y)
    assert arguments.pop("generator") is generator
    return arguments


def test_every_key_of_the_table_arrives(network: FeatureClassifier, monkeypatch: pytest.MonkeyPatch):
    table = {"norm": "l2", "steps": 7, "step_size": 0.03, "random_start": False, "return_iterate": "last_success"}
    attack = AdversaryConfig(name="pgd", epsilon=0.5, **table)
    assert attack_arguments(network, attack, monkeypatch, epsilon=0.25) == table | {"epsilon": 0.25}


def test_without_a_step_size_the_attack_chooses(network: FeatureClassifier, monkeypatch: pytest.MonkeyPatch):
    attack = AdversaryConfig(name="pgd", epsilon=0.5, steps=7)
    assert "step_size" not in attack_arguments(network, attack, monkeypatch, epsilon=0.5)


def test_an_adversary_edited_during_the_training_stays_as_it_began(
    network: FeatureClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A resume would refuse the run otherwise, or continue with other code."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text("def attack(model, x, y): return x * 0 + 0.5")
    adversary = Adversary(network, AdversaryConfig(name="mine.py:attack", epsilon=1.0), Generator())
    assert adversary(x, y).unique().tolist() == [0.5]
    path.write_text("def attack(model, x, y): return x * 0 + 0.25")
    assert adversary(x, y).unique().tolist() == [0.5]
