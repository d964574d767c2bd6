"""What tests of several layers share."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from afdctl import recipe
from afdctl.recipe import Recipe

SHORT = [
    "train.epochs=2", "train.batch_size=256", "train.milestones=[1]", "train.report_every=2", "model.width=4",
    "attack.steps=2", "validation.steps=2", "validation.limit=64", "test.steps=2", "test.limit=64",
]  # fmt: skip
"""Overrides that make a digits recipe train in a second: 2 epochs of 5 steps."""


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def short(name: str, *overrides: str) -> Recipe:
    """A packaged digits recipe, made short."""
    return recipe.load(name, [*SHORT, *overrides])


@contextmanager
def no_waiting_for_the_device() -> Iterator[None]:
    """Any use of a tensor's value on the host fails inside, as it would stop a captured graph."""

    def fail(*_: object) -> None:
        raise AssertionError("a tensor's value was read on the host")

    reads = ("item", "tolist", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__")
    with patch.multiple(Tensor, **dict.fromkeys(reads, fail)):
        yield
