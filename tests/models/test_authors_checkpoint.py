"""Test that a checkpoint with the authors' weight names gives the same network as ours."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from afdctl.errors import RecipeError
from afdctl.models import authors_checkpoint, discriminator
from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.models.state_dict_io import load_state_dict_strict
from tests.models.authors import SpectralHead, checkpoint, classifier, encoder, shake


def network(cifar: bool) -> FeatureClassifier:
    encoder, channels = ("resnet18", 3) if cifar else ("resnet18_mnist", 1)
    return build(encoder, width=4, channels=channels, image_size=16, classes=10)


@pytest.fixture(params=[False, True], ids=["mnist", "cifar"])
def cifar(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def theirs(cifar: bool) -> FeatureClassifier:
    made = network(cifar)
    shake(made)
    return made.eval()


def same_logits(a: FeatureClassifier, b: FeatureClassifier, cifar: bool) -> bool:
    x = torch.rand(4, 3 if cifar else 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return torch.equal(a.eval()(x), b.eval()(x))


@pytest.mark.parametrize("gpus", [1, 2])
def test_the_same_weights_give_the_same_logits_and_scores(
    tmp_path: Path, theirs: FeatureClassifier, cifar: bool, gpus: int
):
    head = SpectralHead(theirs.features, 10)
    shake(head)
    torch.save(checkpoint(theirs, head, cifar, gpus), tmp_path / "c.pt")
    found, ours = authors_checkpoint.load(tmp_path / "c.pt"), network(cifar)
    assert not same_logits(ours, theirs, cifar)
    load_state_dict_strict(ours, found.network, tmp_path)
    assert same_logits(ours, theirs, cifar)

    D_psi = discriminator.build("fc3-pd", features=theirs.features, classes=10, hidden=theirs.features, spectral=True)
    assert found.discriminator is not None
    load_state_dict_strict(D_psi, found.discriminator, tmp_path)
    z, y = torch.rand(5, theirs.features), torch.arange(5)
    torch.testing.assert_close(D_psi.eval()(z, y), head.eval()(z, y))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_bare_pair_that_adv_train_saves(tmp_path: Path, theirs: FeatureClassifier, cifar: bool, prefix: str):
    parts = [encoder(theirs, cifar), classifier(theirs, cifar)]
    pair = {f"{prefix}{part}.{name}": value for part in (0, 1) for name, value in parts[part].items()}
    torch.save(pair, tmp_path / "c.pt")
    found, ours = authors_checkpoint.load(tmp_path / "c.pt"), network(cifar)
    load_state_dict_strict(ours, found.network, tmp_path)
    assert same_logits(ours, theirs, cifar)
    assert (found.discriminator, found.encoder) == (None, None)


@pytest.mark.parametrize(
    "payload", [{"E_state_dict": {}}, {"E_state_dict": 3, "Dc_state_dict": 4}, {"a": torch.ones(1)}, [1], {}]
)
def test_what_is_not_a_checkpoint_of_theirs(tmp_path: Path, payload: Any):
    torch.save(payload, tmp_path / "c.pt")
    with pytest.raises(RecipeError, match=r"c.pt: not a checkpoint of the authors' AFD code \(no E_state_dict and"):
        authors_checkpoint.load(tmp_path / "c.pt")


@pytest.mark.parametrize(
    ("encoder_model", "norm", "message"),
    [
        ("resnet18norm", "l2", None),
        ("resnet18", "none", None),
        (None, "l2", None),
        ("resnet18norm", "none", 'c.pt: its encoder is resnet18norm, the recipe has model.norm = "none"; add --set '),
        ("resnet18", "l2", 'c.pt: its encoder is resnet18, the recipe has model.norm = "l2"; add --set model.norm=no'),
        ("resnet18normleaky", "l2", "c.pt: its encoder is resnet18normleaky; only resnet18norm and resnet18 can be"),
    ],
)
def test_the_encoder_that_the_checkpoint_names_must_be_the_recipes(encoder_model: Any, norm: str, message: Any):
    found = authors_checkpoint.AuthorsCheckpoint({}, None, encoder_model, "")
    raising = pytest.raises(RecipeError, match="^" + re.escape(message)) if message else nullcontext()
    with raising:
        found.check_norm(norm, Path("c.pt"))
