"""Provenance in run.json: what a metric may depend on besides recipe and data; and the keys in which runs differ."""

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from afdctl import __version__
from afdctl.training_text import format_precisions

if TYPE_CHECKING:
    import torch

    from afdctl.recipe import Recipe

# Seconds after which an unresponsive git is given up.
GIT_TIMEOUT: Final = 10


def environment(device: "torch.device") -> dict[str, Any]:
    """Return versions, commit, device, thread count and command of this process."""
    import torch

    on_cuda = device.type == "cuda"
    return {
        "afdctl": __version__,
        "commit": source_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_cuda else None,
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if on_cuda else platform.processor(),
        "platform": platform.platform(),
        # the rounding of sums depends on it, so a resume sets the same number
        "threads": torch.get_num_threads(),
        "command": command_line(),
    }


def precisions_of(provenance: Mapping[str, Any], recipe: "Recipe") -> dict[str, str]:
    """Return the precisions, `attack` and `train`, that a run trains in; a recipe may leave them to `auto`."""
    # until there was `attack.precision`, the attack computed in that of the training
    earlier = {"attack": recipe.train.precision, "train": recipe.train.precision}
    found: dict[str, str] = provenance.get("precisions", earlier)
    return found


def with_precisions(recipe: "Recipe", precisions: Mapping[str, str]) -> "Recipe":
    """Return the recipe with these precisions, by the table that has the key: `attack` and `train`."""
    tables = {"attack": recipe.attack, "train": recipe.train}
    changed = {name: table.model_copy(update={"precision": precisions[name]}) for name, table in tables.items()}
    return recipe.model_copy(update=changed)


def in_words(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return run.json's content with its precisions as a text."""
    found = provenance.get("precisions")
    return {**provenance, **({"precisions": format_precisions(found)} if found else {})}


def command_line() -> str:
    """Return the command of this process as a shell takes it."""
    return shlex.join(sys.argv)


def source_commit() -> str | None:
    """Return the commit of the checkout that this package runs from; None for an installed package.

    The commit ends in `-dirty` if tracked files differ from it.
    """
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    # no tags: the commit alone identifies the source
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as `table.key`: value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def has_effect(recipe: "Recipe", key: str) -> bool:
    """Return whether a key such as `attack.steps` is set, to 0 or nothing only where that is not its default."""
    table, _, name = key.rpartition(".")
    holder = getattr(recipe, table) if table else recipe
    value = getattr(holder, name, None)
    return bool(value) or (value is not None and value != type(holder).model_fields[name].default)


def aligned(trees: Sequence[Mapping[str, Any]], missing: Any = None) -> dict[str, list[Any]]:
    """Return each key of any tree with its value in every tree."""
    flat = [flattened(tree) for tree in trees]
    keys = dict.fromkeys(key for tree in flat for key in tree)
    return {key: [tree.get(key, missing) for tree in flat] for key in keys}


def differing_keys(trees: Sequence[Mapping[str, Any]], missing: Any = None) -> dict[str, list[Any]]:
    """Return the keys whose values are not equal in all trees, with the value in each."""
    rows = aligned(trees, missing)
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}
