"""Starting from the weights of another network: what is loaded, what stays random, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from afdctl.errors import RecipeError
from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.models.initial_weights import load_initial_weights

FILE = Path("w.pt")


def network(
    seed: int, *, classes: int = 10, norm: str = "l2", width: int = 2, encoder: str = "lenet"
) -> FeatureClassifier:
    torch.manual_seed(seed)
    return build(encoder, width=width, norm=norm, channels=1, image_size=8, classes=classes)


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_whole_network_is_loaded(prefix: str):
    old, new = network(1), network(2)
    assert load_initial_weights(new, {prefix + key: value for key, value in old.state_dict().items()}, FILE) == []
    assert equal(old, new)


def test_other_classes_keep_the_random_classifier():
    old, new, untouched = network(1, classes=100), network(2), network(2)
    notes = load_initial_weights(new, old.state_dict(), FILE)
    assert notes == ["w.pt: has 100 classes, the data set 10; C_phi starts from random weights"]
    assert equal(old.F_theta, new.F_theta)
    assert equal(untouched.C_phi, new.C_phi)


@pytest.mark.parametrize(
    ("head", "unused"), [({}, ""), ({"fc.weight": torch.zeros(1000, 16), "fc.bias": torch.zeros(1000)}, "fc")]
)
def test_an_encoder_is_loaded_without_its_own_classifier(head: dict[str, Any], unused: str):
    old, new, untouched = network(1), network(2), network(2)
    (note,) = load_initial_weights(new, old.F_theta[0].state_dict() | head, FILE)
    without = " (without fc.weight, fc.bias)" if unused else ""
    assert note == f"w.pt: has the weights of F_theta{without}; C_phi starts from random weights"
    assert equal(old.F_theta, new.F_theta)
    assert equal(untouched.C_phi, new.C_phi)


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ({"width": 4}, "does not fit the model: F_theta.0.0.weight is [4, 1, 5, 5], not [2, 1, 5, 5]"),
        ({"encoder": "resnet18"}, "does not fit the model: missing F_theta.0.0.weight"),
        ({"norm": "none"}, 'by "none", those of the recipe by "l2"; set model.norm = "none"'),
    ],
)
def test_another_network_is_refused(old: dict[str, Any], message: str):
    with pytest.raises(RecipeError) as raised:
        load_initial_weights(network(2), network(1, **old).state_dict(), FILE)
    assert message in str(raised.value)


def test_a_file_without_the_norm_is_refused_where_another_place_names_it():
    """.safetensors files hold tensors only; the recipe of a run has the norm."""
    state = {name: value for name, value in network(1).state_dict().items() if not name.endswith("extra_state")}
    with pytest.raises(RecipeError, match=r'set model.norm = "none"'):
        load_initial_weights(network(2), state, FILE, "none")
    assert load_initial_weights(network(2), state, FILE, "l2") == []


def test_two_layers_more_are_another_network():
    state = network(1).F_theta[0].state_dict() | {"fc.weight": torch.zeros(2), "head.weight": torch.zeros(2)}
    with pytest.raises(RecipeError, match=r"unexpected fc.weight, head.weight"):
        load_initial_weights(network(2), state, FILE)
