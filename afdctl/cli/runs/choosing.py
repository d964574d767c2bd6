"""Which runs `ls` lists, and in which order."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from afdctl import registry
from afdctl.errors import RecipeError
from afdctl.recipe.differences import flattened


class Row:
    """A run's overview, and all values that it can be chosen by: the overview's and the recipe's (`attack.epsilon`)."""

    def __init__(self, overview: dict[str, Any], recipe: dict[str, Any]) -> None:
        self.overview = overview
        self.values = flattened(recipe) | overview


@dataclass(frozen=True)
class Condition:
    """`key`, `sign` and `text` of a --where."""

    key: str
    sign: str
    text: str

    def holds(self, row: Row) -> bool:
        """Whether the row fulfils it; a value that is not known only fulfils `!=`."""
        value = row.values.get(self.key)
        if value is None:
            return self.sign == "!="
        return SIGNS[self.sign](value, self.text)


def condition(text: str) -> Condition:
    """What a --where says; RecipeError where it says nothing."""
    found = re.fullmatch(r"\s*([\w.]+)\s*(!=|=|~|<|>)\s*(.*?)\s*", text)
    if not found:
        raise RecipeError(f"--where '{text}': write key=value, key!=value, key~text, key<number or key>number")
    if found[2] in "<>" and _number(found[3]) is None:
        raise RecipeError(f"--where '{text}': '{found[3]}' is no number; {found[2]} compares numbers")
    return Condition(*found.groups())


def arrange(rows: Sequence[Row], conditions: Sequence[Condition], sort: str | None, *, reverse: bool) -> list[Row]:
    """The rows that fulfil all conditions, in order; those without a value come last. RecipeError: an unknown key."""
    keys = {key for row in rows for key in row.values}
    for option, key in [*(("--where", one.key) for one in conditions), *([("--sort", sort)] if sort else [])]:
        if rows and key not in keys:
            near = registry.nearest(key, sorted(keys))
            hint = f"did you mean '{near}'?" if near else "see `afdctl runs ls --json` and `afdctl recipes show`"
            raise RecipeError(f"{option} {key}: no such key; {hint}")
    chosen = [row for row in rows if all(one.holds(row) for one in conditions)]
    if sort is None:
        return chosen[::-1] if reverse else chosen
    known = [row for row in chosen if row.values.get(sort) is not None]
    return sorted(known, key=lambda row: _rank(row.values[sort]), reverse=reverse) + [
        row for row in chosen if row.values.get(sort) is None
    ]


def _rank(value: Any) -> tuple[int, float, str]:
    """Numbers before texts, each by their own order."""
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value).lower())


def _equal(value: Any, text: str) -> bool:
    if isinstance(value, bool):
        return str(value).lower() == text.lower()
    if isinstance(value, int | float):
        return (number := _number(text)) is not None and abs(value - number) < 1e-9
    return str(value).lower() == text.lower()


def _number(text: str) -> float | None:
    """`0.5` or `8/255`."""
    from afdctl.recipe.values import decimal

    numerator, _, denominator = text.partition("/")
    try:
        return decimal(numerator) / decimal(denominator or "1")
    except (ValueError, ZeroDivisionError):
        return None


def _compared(sign: int) -> Callable[[Any, str], bool]:
    def holds(value: Any, text: str) -> bool:
        return isinstance(value, int | float) and sign * (value - (_number(text) or 0.0)) > 0

    return holds


SIGNS: dict[str, Callable[[Any, str], bool]] = {
    "=": _equal,
    "!=": lambda value, text: not _equal(value, text),
    "~": lambda value, text: text.lower() in str(value).lower(),
    ">": _compared(1),
    "<": _compared(-1),
}
