"""Grids of epsilons: as a profile holds them, and as a command line writes them."""

from collections.abc import Mapping
from typing import Final

from afdctl.errors import RecipeError
from afdctl.paths import shortened
from afdctl.recipe.fields import decimal, number

Grid = tuple[float, ...]
MOST = 200


def checked(epsilons: Grid) -> Grid:
    """The grid, if it ascends from 0."""
    if len(epsilons) > MOST:
        raise ValueError(f"are {len(epsilons):,} epsilons, more than {MOST}")
    if not epsilons or epsilons[0] != 0:
        raise ValueError("must begin with 0: accuracy at 0 is clean accuracy, and the area under the curve needs it")
    if list(epsilons) != sorted(set(epsilons)) or len({f"{epsilon:g}" for epsilon in epsilons}) < len(epsilons):
        raise ValueError("must ascend, by more than their sixth digit, such as [0, 0.1, 0.3]")
    if len(epsilons) == 1:
        raise ValueError("has no epsilon to attack at; add one above 0")
    return epsilons


def parse(text: str) -> Grid:
    """`0,0.1,8/255` or `start:stop:step` (stop included) as a grid; RecipeError where it is neither."""
    try:
        grid = _range(text) if ":" in text else tuple(_value(part) for part in text.split(","))
    except ValueError as error:
        raise RecipeError(f"--epsilons '{shortened(text)}': {error}; write 0,0.1,8/255 or 0:0.5:0.1") from None
    try:
        return checked(grid)
    except ValueError as error:
        raise RecipeError(f"--epsilons '{shortened(text)}': {error}") from None


def value(text: str, option: str = "--epsilon") -> float:
    """One epsilon of the command line, such as `0.3` or `8/255`."""
    try:
        return _value(text)
    except ValueError as error:
        raise RecipeError(f"{option} '{shortened(text)}': {error}") from None


def name_of(epsilon: float) -> str:
    """An epsilon as people write it: a short decimal, or `8/255`."""
    pixels = epsilon * 255
    if float(f"{epsilon:.3g}") == epsilon or abs(pixels - round(pixels)) > 1e-6:
        return f"{epsilon:.4g}"
    return f"{pixels:.0f}/255"


def _value(text: str) -> float:
    try:
        found = float(number(text) if "/" in text else decimal(text))
    except ValueError:
        raise ValueError("must be numbers or fractions such as 8/255") from None
    if not 0 <= found < float("inf"):
        raise ValueError("must be 0 or more, and finite")
    return found


def _range(text: str) -> Grid:
    parts = [_value(part) for part in text.split(":")]
    if len(parts) != 3 or parts[2] == 0 or parts[1] < parts[0]:
        raise ValueError("a range is start:stop:step")
    start, stop, step = parts
    # 0:0.5:0.1 means 0.5 too, whatever 0.1 is in binary
    steps = (stop - start) / step + 1e-6
    if steps >= MOST:
        raise ValueError(f"makes {steps + 1:.6g} epsilons, more than {MOST}")
    return tuple(round(start + index * step, 12) for index in range(int(steps) + 1))


NORMS: Final[Mapping[str, str]] = {"linf": "L∞", "l2": "L2", "l1": "L1"}
