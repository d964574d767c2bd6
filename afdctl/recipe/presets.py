"""The presets of `fidelity`: the values on which the paper, its published code and sound practice differ."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import tomli

from afdctl.recipe.toml_source import merge_all, value_at

PRESETS: Final = ("sound", "paper", "official")
# condition of a row -> the recipe's key that it compares
CONDITIONS: Final = {"dataset": ("data", "dataset"), "defense": ("defense", "name"), "game": ("defense", "game")}


@cache
def rows() -> list[dict[str, Any]]:
    """Read the rows of `presets.toml`."""
    parsed: list[dict[str, Any]] = tomli.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["row"]
    return parsed


def preset(fidelity: Any, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a fidelity sets for a recipe's data set, defense and game."""
    # validation reports an unknown name; the default's values add no further problems
    name = fidelity if fidelity in PRESETS else "sound"
    return merge_all(row[name] for row in rows() if applies(row, recipe))


def applies(row: Mapping[str, Any], recipe: Mapping[str, Any]) -> bool:
    """Whether the recipe meets each condition of a row."""
    return all(value_at(recipe, keys) in row[name] for name, keys in CONDITIONS.items() if name in row)
