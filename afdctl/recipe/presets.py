"""How one layer of a recipe goes over another."""

from collections.abc import Iterable, Mapping
from functools import cache, reduce
from pathlib import Path
from typing import Any, Final

import tomli

from afdctl.recipe.fields import KEYS_BY_KIND, Table
from afdctl.recipe.schema import DEFENSES, Attack, Data

# table -> the key that says what kind of thing the table describes
KIND: Final = {"data": "dataset", "defense": "name", "attack": "name"}
TABLES: Final[Mapping[str, type[Table]]] = {"data": Data, "attack": Attack}


def merge_all(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """All layers, each over those before it."""
    return reduce(merge, layers, {})


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` over `base`; a table that changes its kind inherits only the keys that both kinds have."""
    merged = dict(base)
    for key, value in top.items():
        inherited = merged.get(key)
        if isinstance(inherited, dict) and isinstance(value, dict):
            merged[key] = merge(inheritable(key, inherited, value), value)
        else:
            merged[key] = value
    return merged


def inheritable(table: str, inherited: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of an inherited table that still means something under the table that goes over it."""
    before, after = (side.get(KIND.get(table, "")) for side in (inherited, value))
    if not isinstance(before, str) or not isinstance(after, str):
        return inherited
    lost = keys(table, before) - keys(table, after)
    return {key: item for key, item in inherited.items() if key not in lost}


def keys(table: str, kind: str) -> frozenset[str]:
    """The keys that `[data]`, `[attack]` or `[defense]` has for a data set, an adversary or a defense."""
    model = TABLES.get(table, DEFENSES.get(kind, Table))
    return frozenset(key for key in model.model_fields if kind in KEYS_BY_KIND.get(key, (kind,)))


PRESETS: Final = ("sound", "paper", "official")
CONDITIONS: Final = {"dataset": ("data", "dataset"), "defense": ("defense", "name"), "game": ("defense", "game")}


@cache
def rows() -> list[dict[str, Any]]:
    """The rows of `presets.toml`."""
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
