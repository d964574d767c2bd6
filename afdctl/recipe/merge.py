"""How one layer of a recipe goes over another."""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, Final

from afdctl.recipe.schema import DEFENSES, Attack, Data
from afdctl.recipe.values import ONLY, Table

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
    return frozenset(key for key in model.model_fields if kind in ONLY.get(key, (kind,)))
