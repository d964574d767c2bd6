"""Test what of a user's defense a checkpoint holds, and what is refused because a resume would lose it."""

from collections import Counter, OrderedDict, deque
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR

from afdctl.defenses.state import is_value, loads, lost, saved


class Phase(IntEnum):
    LAST = 2


class Own:
    """Keeps its state itself, in an array."""

    def state_dict(self) -> dict[str, Any]:
        return {"sums": np.zeros(2)}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@pytest.mark.parametrize("value", [3, np.int64(3), [np.float32(0.5)], {"a": (np.float64(1), None, "b")}, {}])
def test_numbers_of_numpy_are_saved_as_pythons(value: object):
    assert is_value(value)
    assert lost(value, set()) == ""
    assert saved(value) == value
    assert loads(saved(value))


def test_a_schedule_of_torch_is_state():
    schedule = MultiStepLR(SGD([torch.zeros(1)]), [2, 3])
    assert is_value(schedule)
    assert lost(schedule, set()) == ""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (deque([1]), "is a deque, which a resume would lose: use a list"),
        ({1}, "is a set, which a resume would lose: use a list"),
        (Counter("ab"), "is a Counter, which a resume would lose: use a plain dict"),
        (np.zeros(2), "is a ndarray, which a resume would lose: use a tensor"),
        ([np.zeros(2)], "has ndarray objects, which a resume would lose"),
        (Phase.LAST, "has a state that torch does not load from a checkpoint"),
        ([Phase.LAST], "has a state that torch does not load from a checkpoint"),
        (Own(), "has a state that torch does not load from a checkpoint"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_refused(value: object, message: str):
    assert message in lost(value, set())


@pytest.mark.parametrize("value", [{"ce": cross_entropy}, OrderedDict(ce=cross_entropy), None])
def test_objects_that_training_does_not_change_are_allowed(value: object):
    assert lost(value, set()) == ""
