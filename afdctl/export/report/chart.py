"""Small line charts as inline SVG: geometry here, colours in the style sheet, so that they follow light and dark.

matplotlib draws for paper; here a chart has some 5 kB, its text is the page's, and a mark tells its value.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Floats = np.ndarray[Any, Any]

WIDTH, HEIGHT = 340.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 330.0, 10.0, 178.0


@dataclass(frozen=True)
class Tick:
    """Where it stands, and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Point:
    """A mark that tells its value."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """Values `y` at rising `x`, both (n,); `low` and `high` bound a band. `colour` numbers the run that it shows.

    `marks`: each value has a mark; `joined`: a line joins them.
    """

    label: str
    colour: int
    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None
    marks: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Chart:
    """Lines over one pair of axes; `share`: y is a share, shown in percent from 0 to 100."""

    title: str
    x_label: str
    lines: Sequence[Line]
    share: bool = False

    @cached_property
    def x_range(self) -> tuple[float, float]:
        return _range([line.x for line in self.lines])

    @cached_property
    def y_range(self) -> tuple[float, float]:
        if self.share:
            return 0.0, 1.0
        bands = [_usual(side) for line in self.lines for side in (line.low, line.high) if side is not None]
        low, high = _range([line.y for line in self.lines] + bands)
        # what comes near zero shows its zero
        return (0.0 if 0 <= low < 0.3 * high else low), high

    @property
    def x_ticks(self) -> list[Tick]:
        return [Tick(self._x(value), _short(value)) for value in ticks(*self.x_range, 5)]

    @property
    def y_ticks(self) -> list[Tick]:
        return [
            Tick(self._y(value), f"{100 * value:.0f}" if self.share else _short(value))
            for value in ticks(*self.y_range, 5)
        ]

    def path(self, line: Line) -> str:
        """The line's path; a gap where a value is missing."""
        return _path(self._x(line.x), self._y(line.y))

    def band(self, line: Line) -> str:
        """The outline of the band between the least and the greatest value."""
        if line.low is None or line.high is None:
            return ""
        known = np.isfinite(line.low) & np.isfinite(line.high)
        x, low, high = self._x(line.x[known]), self._y(line.low[known]), self._y(line.high[known])
        return _path(np.r_[x, x[::-1]], np.r_[high, low[::-1]]) + "Z" if len(x) else ""

    def points(self, line: Line) -> list[Point]:
        """The line's marks."""
        if not line.marks:
            return []
        return [
            Point(round(float(self._x(x)), 1), round(float(self._y(y)), 1), f"{line.label}: {self._words(x, y)}")
            for x, y in zip(line.x, line.y, strict=True)
            if math.isfinite(y)
        ]

    def _words(self, x: float, y: float) -> str:
        value = f"{100 * y:.1f} %" if self.share else f"{y:.4g}"
        return f"{value} at {self.x_label} {x:.4g}"

    def _x(self, values: Any) -> Any:
        low, high = self.x_range
        return LEFT + (values - low) / (high - low) * (RIGHT - LEFT)

    def _y(self, values: Any) -> Any:
        low, high = self.y_range
        # far outside is as far as the frame cuts it, and shorter to write
        return np.clip(BOTTOM - (values - low) / (high - low) * (BOTTOM - TOP), -HEIGHT, 2 * HEIGHT)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values inside, about so many: multiples of 1, 2 or 5 times a power of ten."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _range(values: Iterable[Floats]) -> tuple[float, float]:
    """From the least to the greatest finite value; some room where they are the same, 0 to 1 where there is none."""
    joined = np.concatenate([np.empty(0), *values])
    finite = joined[np.isfinite(joined)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        room = 0.1 * abs(low) or 0.5
        return low - room, high + room
    return low, high


def _usual(values: Floats) -> Floats:
    """The values without the outermost: one spike in a million does not flatten all else."""
    finite = values[np.isfinite(values)]
    return finite if len(finite) < 8 else np.percentile(finite, [3, 97])


def _path(x: Floats, y: Floats) -> str:
    """`M1 2L3 4`: a new beginning behind each gap."""
    words, command = [], "M"
    for across, down in zip(x.tolist(), y.tolist(), strict=True):
        if math.isfinite(down):
            words.append(f"{command}{across:.1f} {down:.1f}")
            command = "L"
        else:
            command = "M"
    return "".join(words)


def _short(value: float) -> str:
    """A tick's text, at most six letters: `0.25`, `12k`, `5.5e-4`."""
    if 0 < abs(value) < 0.001:
        return f"{value:.1e}".replace("e-0", "e-")
    for size, unit in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1000 if unit == 'k' else size):g}{unit}"
    return f"{value:g}"
