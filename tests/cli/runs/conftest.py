"""Fixtures: four runs, and any command in their folder."""

from pathlib import Path

import pytest

from afdctl.runs.run import Run
from tests.journals import epoch, steps, swept, trained, written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def runs(folder: Path) -> dict[str, Run]:
    """wgan: attacked with AutoAttack; at: finished; young: killed in its second epoch; mnist: not begun."""
    root = folder / "runs"
    made = {
        "wgan": written(root, "wgan", trained(0.95, 0.6)),
        "at": written(root, "at", trained(0.99, 0.5), recipe_name="digits_at", sets=["attack.epsilon=0.2"]),
        "young": written(root, "young", [*steps(1, 10), epoch(1, 0.7, 0.2), *steps(11, 13)]),
        "mnist": written(root, "mnist", [], recipe_name="mnist_wgan"),
    }
    made["mnist"].journal_path.unlink()
    swept(made["wgan"], {0.05: 0.8, 0.1: 0.4})
    return made
