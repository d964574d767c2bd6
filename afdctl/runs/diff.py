"""Compare nested mappings: recipes, provenance, results."""

from collections.abc import Mapping, Sequence
from typing import Any


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as `table.key`: value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def aligned(trees: Sequence[Mapping[str, Any]], missing: Any = None) -> dict[str, list[Any]]:
    """Return each key of any tree with its value in every tree."""
    flat = [flattened(tree) for tree in trees]
    keys = dict.fromkeys(key for tree in flat for key in tree)
    return {key: [tree.get(key, missing) for tree in flat] for key in keys}


def differing_keys(trees: Sequence[Mapping[str, Any]], missing: Any = None) -> dict[str, list[Any]]:
    """Return the keys whose values are not equal in all trees, with the value in each."""
    rows = aligned(trees, missing)
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}
