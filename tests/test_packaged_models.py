"""Test that each packaged model is what its card says. AFDCTL_TEST_DATA names the folder of their data sets."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from afdctl.data import loader_of, search_path
from afdctl.data.loader import batches
from afdctl.evaluation.target import load_run_target
from afdctl.recipe import loads
from afdctl.recipe.load import dump
from afdctl.runs.curves import accuracy_interval
from afdctl.runs.model_card import AUTOATTACK, CLEAN, StoredModel, load, packaged
from afdctl.training.import_checkpoint import import_model

MODELS = {name: load(str(path)) for name, path in packaged().items()}
# not AFDCTL_DATA, which the tests ignore
DATA = Path(os.environ["AFDCTL_TEST_DATA"]) if "AFDCTL_TEST_DATA" in os.environ else None
# the network of mnist_afd has 9 MB; the wheel holds all of them
MAX_BYTES = 10_000_000
IMAGES = 200


def quick(model: StoredModel) -> bool:
    """Whether it classifies its whole test split in a moment."""
    return model.card.recipe.data.dataset == "digits"


@cache
def has_data(dataset: str) -> bool:
    return loader_of(dataset).find(search_path(DATA)) is not None


def require_data(model: StoredModel) -> None:
    dataset = model.card.recipe.data.dataset
    if not has_data(dataset):
        pytest.skip(f"{dataset} is not on this machine; name its folder with AFDCTL_TEST_DATA")


@pytest.mark.parametrize("name", MODELS)
def test_the_files_belong_together(name: str):
    model = MODELS[name]
    assert len(model.read_weights()) <= MAX_BYTES
    assert loads(dump(model.card.recipe)) == model.card.recipe
    for metric in model.card.metrics:
        # a card that was edited by hand
        assert (metric.low, metric.high) == pytest.approx(accuracy_interval(metric.accuracy, metric.n), abs=1e-6)
    assert model.card.training.commit
    assert "dirty" not in model.card.training.commit


@pytest.mark.parametrize(
    "name", [name if quick(model) else pytest.param(name, marks=pytest.mark.slow) for name, model in MODELS.items()]
)
def test_the_clean_accuracy_is_that_of_the_card(name: str, tmp_path: Path):
    model = MODELS[name]
    require_data(model)
    run = import_model(model, runs=tmp_path, data_dir=DATA)
    target = load_run_target(run, "best", torch.device("cpu"), DATA)
    with torch.no_grad():
        correct = sum(int((target.network(x).argmax(1) == y).sum()) for x, y in batches(target.split, 1000))
    assert sum(parameter.numel() for parameter in target.network.parameters()) == model.card.parameters
    clean, n = model.card.metric(CLEAN), len(target.split)
    # two correct images more or less where another machine rounds differently
    tolerance = 2 / n if clean.n == n else clean.high - clean.low
    assert correct / n == pytest.approx(clean.accuracy, abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_autoattack_on_200_images_agrees_with_the_card(name: str, tmp_path: Path):
    """From the command line, as a user's first command; minutes for a network on MNIST."""
    model = MODELS[name]
    require_data(model)
    described = model.card.metric(AUTOATTACK)
    words = f"-m afdctl attack model:{name} --attack aa --epsilon {described.epsilon} --limit {IMAGES} --json".split()
    options = ["--runs", str(tmp_path), *(["--data-dir", str(DATA)] if DATA else [])]
    ended = subprocess.run([sys.executable, *words, *options], stdout=subprocess.PIPE, check=True)
    (cell,) = json.loads(ended.stdout)["cells"]
    assert cell["n"] == IMAGES
    # both intervals hold the true accuracy with 95 %, so they overlap
    assert cell["low"] <= described.high
    assert cell["high"] >= described.low
