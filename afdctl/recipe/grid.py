"""`--grid`: the recipes of all combinations of values, each with a digest that names its run."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from math import prod
from pathlib import Path
from typing import Final

from afdctl.errors import RecipeError
from afdctl.formatting import short_keys, shorten
from afdctl.recipe.load import chain, find, override_layer, resolve, with_presets
from afdctl.recipe.schema import Recipe
from afdctl.recipe.toml_source import parse_assignments
from afdctl.recipe.user_names import with_absolute_names

# A larger grid is a mistake: a recipe is resolved in 5 ms, but trained in minutes at least.
MAX_CELLS: Final = 10_000
DIGEST_DIGITS: Final = 8
NUMBER: Final = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
RANGE: Final = re.compile(rf"(log:)?({NUMBER})\.\.({NUMBER})")
# A value between commas: brackets and quotes may hold commas too.
OPENING, CLOSING = "[{", "]}"


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, whole ones if `is_whole`; `is_log`: their logarithms are equally likely."""

    low: float
    high: float
    is_whole: bool
    is_log: bool


@dataclass(frozen=True)
class Axis:
    """A key of the recipe, and the values it takes: TOML texts, or a range for a search."""

    key: str
    values: tuple[str, ...]
    range: Range | None = None


@dataclass(frozen=True)
class Cell:
    """A combination of values, in the order of the axes, its recipe, and a digest of the recipe."""

    settings: tuple[tuple[str, str], ...]
    recipe: Recipe
    digest: str

    def __str__(self) -> str:
        keys = short_keys(key for key, _ in self.settings)
        return " ".join(f"{key}={value}" for key, (_, value) in zip(keys, self.settings, strict=True))


def parse(texts: Iterable[str]) -> list[Axis]:
    """Parse the texts of `--grid`, such as `defense.lr_F=0.1,0.5`; RecipeError for a malformed or repeated one."""
    axes: list[Axis] = []
    for text in texts:
        key, equals, listed = text.partition("=")
        key, shown = key.strip(), shorten(text)
        values = tuple(split(listed))
        if not equals or not key or not all(values):
            raise RecipeError(f"--grid {shown}: write --grid KEY=VALUE,VALUE, such as defense.lr_F=0.1,0.5")
        if key in {axis.key for axis in axes}:
            raise RecipeError(f"--grid {shown}: {key} is named twice; name all its values in one --grid")
        if len(set(values)) < len(values):
            raise RecipeError(f"--grid {shown}: names a value twice")
        matches = [RANGE.fullmatch(value) for value in values]
        if any(matches) and len(values) > 1:
            raise RecipeError(f"--grid {shown}: a range takes no values beside it; write KEY=LOW..HIGH alone")
        axes.append(Axis(key, () if any(matches) else values, _range(matches[0], shown)))
    return axes


def split(text: str) -> list[str]:
    """Split values at their commas, except at those inside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        depth += 0 if quote else (character in OPENING) - (character in CLOSING)
        if character == "," and not quote and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _range(match: re.Match[str] | None, shown: str) -> Range | None:
    if match is None:
        return None
    low, high = float(match[2]), float(match[3])
    if low >= high or (match[1] and low <= 0):
        wants = "a positive number, then a larger one" if match[1] else "a number, then a larger one"
        raise RecipeError(f"--grid {shown}: a range is {wants}")
    is_whole = not re.search(r"[.eE]", match[2] + match[3])
    return Range(low=low, high=high, is_whole=is_whole, is_log=bool(match[1]))


@dataclass(frozen=True)
class Grid:
    """The axes over a recipe with its `--set` overrides. Errors of its recipes: RecipeError, with all problems."""

    recipe: str
    overrides: Sequence[str]
    axes: Sequence[Axis]

    def __post_init__(self) -> None:
        keys = {assignment.partition("=")[0].strip() for assignment in self.overrides}
        for axis in self.axes:
            if axis.key in keys:
                raise RecipeError(f"--grid {axis.key}: --set names this key too; leave one of them out")

    def cells(self) -> list[Cell]:
        """Resolve every combination, the last key varying first."""
        for axis in self.axes:
            if axis.range:
                raise RecipeError(f"--grid {axis.key}: a range needs --search optuna; or name values, such as 0.1,0.5")
        count = prod(len(axis.values) for axis in self.axes)
        if count > MAX_CELLS:
            raise RecipeError(f"--grid: {count:,} combinations; at most {MAX_CELLS:,} are trained at once")
        choices = product(*([(axis.key, value) for value in axis.values] for axis in self.axes))
        cells = list(self._resolve(choices))
        first: dict[str, Cell] = {}
        for cell in cells:
            if (other := first.setdefault(cell.digest, cell)) is not cell:
                raise RecipeError(f"--grid: {other} and {cell} are the same training; leave one of them out")
        return cells

    def cell(self, settings: Sequence[tuple[str, str]]) -> Cell:
        """Resolve one combination."""
        return next(self._resolve([settings]))

    def _resolve(self, choices: Iterable[Sequence[tuple[str, str]]]) -> Iterator[Cell]:
        # the files are read once, so that all cells have the same
        below = [*chain(find(self.recipe)), override_layer(self.overrides)]
        for settings in choices:
            top = parse_assignments([f"{key}={value}" for key, value in settings], option="--grid")
            layers = [*below, with_absolute_names(top, Path.cwd())]
            recipe = resolve(list(with_presets(layers)))
            yield Cell(tuple(settings), recipe, short_digest(recipe))


def short_digest(recipe: Recipe) -> str:
    """Return the digits that name a cell's run."""
    # without defaults, so that a key added to the schema later does not rename all runs
    return sha256(recipe.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:DIGEST_DIGITS]
