"""In what several trees of values differ: recipes, provenance, results."""

from collections.abc import Mapping, Sequence
from typing import Any


def flattened(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A tree as `table.key`: value."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flattened(value, f"{above}{key}.") if isinstance(value, Mapping) else {above + key: value}
    return found


def aligned(trees: Sequence[Mapping[str, Any]], missing: Any = None) -> dict[str, list[Any]]:
    """Each key of any of the trees with its value in all of them."""
    flat = [flattened(tree) for tree in trees]
    return {key: [one.get(key, missing) for one in flat] for key in dict.fromkeys(key for one in flat for key in one)}


def differing_keys(trees: Sequence[Mapping[str, Any]], missing: Any = None) -> dict[str, list[Any]]:
    """The keys whose values are not the same in all trees, with the value in each."""
    rows = aligned(trees, missing)
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}
