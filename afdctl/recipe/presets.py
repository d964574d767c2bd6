"""The values of `fidelity`, from the rows of presets.toml."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import tomli

from afdctl.recipe import toml_source
from afdctl.recipe.toml_source import value_at

# the presets of `fidelity`: the paper, its published code and sound practice differ
PRESETS: Final = ("sound", "paper", "official")
# condition of a row of presets.toml -> the recipe's key that it compares
CONDITIONS: Final = {"dataset": ("data", "dataset"), "defense": ("defense", "name"), "game": ("defense", "game")}


@cache
def preset_rows() -> list[dict[str, Any]]:
    """Read the rows of `presets.toml`."""
    text = Path(__file__).with_name("presets.toml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = tomli.loads(text)["row"]
    return rows


def preset(fidelity: Any, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a fidelity sets for a recipe's data set, defense and game."""
    # validation reports an unknown name; the default's values add no further problems
    name = fidelity if fidelity in PRESETS else "sound"
    return toml_source.merge_all(row[name] for row in preset_rows() if meets_conditions(row, recipe))


def meets_conditions(row: Mapping[str, Any], recipe: Mapping[str, Any]) -> bool:
    """Whether the recipe meets each condition of a row."""
    return all(value_at(recipe, keys) in row[name] for name, keys in CONDITIONS.items() if name in row)
