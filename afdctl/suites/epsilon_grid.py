"""Epsilon grids of suites and of the command line."""

from afdctl.errors import RecipeError
from afdctl.formatting import shorten
from afdctl.recipe.fields import parse_decimal, parse_fraction

Grid = tuple[float, ...]
MAX_EPSILONS = 200


def checked(epsilons: Grid) -> Grid:
    """Return the grid if it ascends from 0; ValueError otherwise."""
    if len(epsilons) > MAX_EPSILONS:
        raise ValueError(f"are {len(epsilons):,} epsilons, more than {MAX_EPSILONS}")
    if not epsilons or epsilons[0] != 0:
        raise ValueError("must begin with 0: accuracy at 0 is clean accuracy, which the area under the curve needs")
    if list(epsilons) != sorted(set(epsilons)) or len({f"{epsilon:g}" for epsilon in epsilons}) < len(epsilons):
        raise ValueError("must ascend, and differ in the first six digits, such as [0, 0.1, 0.3]")
    if len(epsilons) == 1:
        raise ValueError("has no epsilon to attack at; add one above 0")
    return epsilons


def parse(text: str) -> Grid:
    """Parse `0,0.1,8/255` or `start:stop:step` (stop included); RecipeError for anything else."""
    try:
        grid = _range(text) if ":" in text else tuple(_value(part) for part in text.split(","))
    except ValueError as error:
        raise RecipeError(f"--epsilons '{shorten(text)}': {error}; write 0,0.1,8/255 or 0:0.5:0.1") from None
    try:
        return checked(grid)
    except ValueError as error:
        raise RecipeError(f"--epsilons '{shorten(text)}': {error}") from None


def value(text: str, option: str = "--epsilon") -> float:
    """Parse one epsilon of the command line, such as `0.3` or `8/255`."""
    try:
        return _value(text)
    except ValueError as error:
        raise RecipeError(f"{option} '{shorten(text)}': {error}") from None


def _value(text: str) -> float:
    try:
        epsilon = float(parse_fraction(text) if "/" in text else parse_decimal(text))
    except ValueError:
        raise ValueError("must be numbers or fractions such as 8/255") from None
    if not 0 <= epsilon < float("inf"):
        raise ValueError("must be 0 or more, and finite")
    return epsilon


def _range(text: str) -> Grid:
    parts = [_value(part) for part in text.split(":")]
    if len(parts) != 3 or parts[2] == 0 or parts[1] < parts[0]:
        raise ValueError("a range is start:stop:step")
    start, stop, step = parts
    # the tolerance keeps 0.5 in 0:0.5:0.1, where 0.1 is inexact in binary
    steps = (stop - start) / step + 1e-6
    if steps >= MAX_EPSILONS:
        raise ValueError(f"makes {steps + 1:.6g} epsilons, more than {MAX_EPSILONS}")
    return tuple(round(start + index * step, 12) for index in range(int(steps) + 1))
