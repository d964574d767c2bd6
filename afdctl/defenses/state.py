"""Which attributes of a defense are state that a checkpoint holds, and which would be lost."""

import copy
import random
from collections import deque
from collections.abc import Iterator, Set
from io import BytesIO
from pickle import PickleError
from typing import Any, Final

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

# types of attributes that are state by themselves
VALUES: Final = (int, float, str, np.generic, Tensor, Generator)
PLAIN: Final = (int, float, str, np.generic, type(None))
# types of which a checkpoint holds nothing, and what to use instead
UNSAVED: Final = {deque: "a list", set: "a list", dict: "a plain dict", np.ndarray: "a tensor"}
GENERATORS: Final = (random.Random, np.random.Generator, np.random.RandomState)


def is_value(value: Any) -> bool:
    """Return whether an attribute is a value: a number, a tensor, a generator, plain containers, or a state_dict."""
    return isinstance(value, VALUES) or (isinstance(value, list | tuple | dict) and is_plain(value)) or has_state(value)


def is_plain(value: Any) -> bool:
    """Return whether a value is a number, a text or None, or a list, tuple or dictionary of such."""
    if type(value) is dict:
        return all(is_plain(item) for pair in value.items() for item in pair)
    return all(map(is_plain, value)) if type(value) in (list, tuple) else isinstance(value, PLAIN)


def has_state(value: Any) -> bool:
    """Return whether an object that is neither module nor optimizer keeps its own state, such as a scheduler."""
    own = (callable(getattr(value, name, None)) for name in ("state_dict", "load_state_dict"))
    return not isinstance(value, nn.Module | Optimizer | type) and all(own)


def saved(value: Any) -> Any:
    """Return what a checkpoint holds of a value; a tensor is the attribute itself, not a copy."""
    if isinstance(value, Generator):
        return value.get_state()
    if isinstance(value, Tensor):
        return value
    # a later step may change them
    return copy.deepcopy(value.state_dict()) if has_state(value) else without_numpy(value)


def without_numpy(value: Any) -> Any:
    """Copy a plain value; numpy's numbers, which torch does not load from a checkpoint, become Python's."""
    if type(value) is dict:
        return {without_numpy(key): without_numpy(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(without_numpy, value))
    return value.item() if isinstance(value, np.generic) else value


def loads(value: Any) -> bool:
    """Return whether torch can save a value and load it without executing code."""
    buffer = BytesIO()
    try:
        torch.save(value, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except (PickleError, AttributeError, TypeError):
        return False
    return True


def lost(value: Any, known: Set[int]) -> str:
    """Name what a checkpoint would lose of an attribute, in words; empty if nothing. `known` are the ids of its parts.

    Modules and optimizers are found as attributes only, so those in a container are lost unless they are known.
    """
    if isinstance(value, GENERATORS):
        return f"is a {type(value).__name__}, whose draws a resume would repeat: use a torch.Generator"
    if is_value(value):
        is_held = isinstance(value, Tensor | Generator) or loads(saved(value))
        return "" if is_held else "has a state that torch does not load from a checkpoint: use numbers, texts, tensors"
    for kind, other in UNSAVED.items():
        # a dictionary of functions, say, does not change in training
        if isinstance(value, kind) and type(value) is not dict and is_plain(list(contents(value))):
            return f"is a {type(value).__name__}, which a resume would lose: use {other}"
    for item in contents(value):
        if isinstance(item, nn.Module) and id(item) not in known:
            return "has modules, which a resume would lose: use torch.nn.ModuleList or ModuleDict"
        if isinstance(item, (Optimizer, Tensor, Generator, np.ndarray, *GENERATORS)) and id(item) not in known:
            return f"has {type(item).__name__} objects, which a resume would lose: make each an attribute of its own"
    return ""


def contents(value: Any) -> Iterator[Any]:
    """Yield the objects in a container and in the containers inside."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | set) else ()
    for item in items:
        yield item
        yield from contents(item)
