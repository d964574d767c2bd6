"""Fixtures and helpers that tests of several layers share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# one thread a test process: there are as many of them as cores; read when torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
# tests do not use the data sets of the user who runs them
os.environ.pop("AFDCTL_DATA", None)

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from afdctl import recipe
from afdctl.recipe import Recipe
from afdctl.runs.run import Run
from afdctl.training.setup import start

# the table of the torture tests, which pytest-xdist's controller prints although it collects no test
pytest_plugins = ["tests.torture.summary"]

SHORT = [
    "train.epochs=2",
    "train.batch_size=256",
    "train.milestones=[1]",
    "train.report_every=2",
    "model.width=4",
    "attack.steps=2",
    "attack.precision=float32",
    "validation.steps=2",
    "validation.limit=64",
    "test.steps=2",
    "test.limit=64",
]
"""Overrides that make a digits recipe train in a second: 2 epochs of 5 steps."""


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def short(name: str, *overrides: str) -> Recipe:
    """A packaged digits recipe, made short, on LeNet, which takes a third of the time of a ResNet."""
    return recipe.load(name, [*SHORT, "model.encoder=lenet", *overrides])


def train(
    recipe: Recipe,
    runs: Path,
    on_line: Callable[[str], None] = lambda line: None,
    *,
    name: str | None = None,
    device: str = "cpu",
) -> Run:
    """Train a recipe in a new run, `run-001` by default."""
    with Run.begin(runs, "run", name) as (run, journal):
        start(recipe, run, journal, device=torch.device(device), data_dir=None, on_line=on_line)
    return run


class NoWaitingForTheDevice(TorchDispatchMode):
    """Fails any operation that reads a tensor's value on the host, which would wait for a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        assert func not in (aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default), "waits"
        return func(*args, **(kwargs or {}))
