"""Test the commands on a file of arrays: train, sweep and analyze SVHN-shaped images that the test makes."""

import json
from pathlib import Path

import numpy as np

from tests.cli.conftest import Afdctl

RECIPE = """
[data]
dataset = "arrays"
path = "svhn.npz"
holdout = 20
random_erasing = 0.2
[model]
encoder = "lenet"
width = 4
[defense]
name = "afd"
label_smoothing = 0.1
nesterov_C = true
[attack]
epsilon = "8/255"
steps = 1
[train]
epochs = 1
batch_size = 40
schedule = "cosine"
warmup_fraction = 0.1
checkpoint_selection = "robust"
[validation]
steps = 1
[test]
steps = 1
"""


def test_arrays_are_trained_swept_and_analysed(afdctl: Afdctl, folder: Path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (120, 32, 32, 3), dtype=np.uint8), np.arange(120) % 10
    np.savez(folder / "svhn.npz", x_train=x[:100], y_train=y[:100], x_test=x[100:], y_test=y[100:])
    (folder / "svhn.toml").write_text(RECIPE)
    trained = afdctl("train", "svhn.toml", "--no-tui")
    assert (trained.code, trained.out) == (0, "runs/svhn-001\n")
    assert "10 classes: 80 images to train on, 20 held out, 20 to test" in trained.err

    swept = afdctl("sweep", "svhn-001", "--attacks", "pgd_linf", "--epsilons", "0,8/255", "--json")
    (answer,) = [json.loads(line) for line in swept.out.splitlines()]
    assert swept.code == 0
    assert answer["schema"] == "afdctl/1"
    analysed = afdctl("analyze", "svhn-001", "--pca", "--json")
    assert analysed.code == 0
    assert json.loads(analysed.out.splitlines()[0])["schema"] == "afdctl/1"


def test_a_mistake_in_the_arrays_is_one_line_and_leaves_nothing(afdctl: Afdctl, folder: Path):
    x = np.zeros((20, 8, 8), np.float32)
    x[3] = np.nan
    np.savez(folder / "nan.npz", x_train=x, y_train=np.arange(20) % 2, x_test=x, y_test=np.arange(20) % 2)
    (folder / "nan.toml").write_text(RECIPE)
    ended = afdctl("train", "nan.toml", "--no-tui", "--set", "data.path=nan.npz", "--runs", "none")
    assert ended == (3, "", "error: nan.npz: x_train has NaN or infinite values, first in image 3\n")
    assert list(folder.glob("none/*")) == []
