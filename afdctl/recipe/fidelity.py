"""The three presets: which values `fidelity` stands for."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import tomli

from afdctl.recipe.merge import merge_all

PRESETS: Final = ("sound", "paper", "official")
CONDITIONS: Final = {"dataset": ("data", "dataset"), "defense": ("defense", "name"), "game": ("defense", "game")}


@cache
def rows() -> list[dict[str, Any]]:
    """The rows of `fidelity.toml`."""
    parsed: list[dict[str, Any]] = tomli.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["row"]
    return parsed


def preset(fidelity: Any, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a fidelity sets for a recipe's data set, defense and game."""
    # an unknown name is reported with the other problems; taking it for the default one adds no more to them
    name = fidelity if fidelity in PRESETS else "sound"
    return merge_all(row[name] for row in rows() if applies(row, recipe))


def applies(row: Mapping[str, Any], recipe: Mapping[str, Any]) -> bool:
    """Whether the recipe has one of the values that the row asks for, in each of its conditions."""
    return all(value_at(recipe, keys) in row[name] for name, keys in CONDITIONS.items() if name in row)


def value_at(recipe: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """The value of a key, or None where the recipe has no such key."""
    value: Any = recipe
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
