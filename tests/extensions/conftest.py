"""A folder with a user's file, the recipe that names all of it, and the run that was trained from it."""

import shutil
from pathlib import Path

import pytest

from afdctl import recipe
from afdctl.recipe import Recipe
from afdctl.runs.run import Run
from tests.conftest import SHORT, train

RECIPE = """
extends = "digits_at"

[data]
dataset = "mine.py:Pictures"
shade = 120
holdout = 64

[model]
encoder = "mine.py:Net"
activation = "silu"

[defense]
name = "mine.py:Mine"
weight = 0.25

[attack]
name = "mine.py:attack"
gain = 1.5
n_fgsm_epochs = 0
steps_warmup_epochs = 0
"""


def write(folder: Path) -> Path:
    """Write the user's files into a folder; return the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("mine.py"), folder)
    (folder / "beside.py").write_text('NAMES = ("a", "b", "c", "d")\n')
    (folder / "scale.txt").write_text("1.0")
    path = folder / "mine.toml"
    path.write_text(RECIPE)
    return path


def load(path: Path, *overrides: str) -> Recipe:
    return recipe.load(str(path), [*SHORT, "train.batch_size=64", "train.report_every=1", *overrides])


@pytest.fixture(scope="session")
def user_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("user") / "files").parent


@pytest.fixture(scope="session")
def user_run(user_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was never stopped."""
    return train(load(user_folder / "mine.toml"), tmp_path_factory.mktemp("whole") / "runs", name="mine")
