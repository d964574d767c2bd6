"""Small line charts as inline SVG: geometry here, colours in the style sheet, so that they follow light and dark.

Unlike matplotlib's, such a chart has about 5 kB, uses the page's font, and shows a value when the pointer is on a mark.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from afdctl.formatting import format_tick, round_ticks

Floats = np.ndarray[Any, Any]

# of the whole chart, and of the frame inside it; parts.html repeats them
WIDTH, HEIGHT = 340.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 330.0, 10.0, 178.0
MAX_TICKS = 5


@dataclass(frozen=True)
class Tick:
    """A tick's position in the chart and its label."""

    position: float
    text: str


@dataclass(frozen=True)
class Point:
    """A mark and the text of its tooltip."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """Values `y` at increasing `x`, both (n,); `low` and `high` bound a band. `colour` is the number of the run.

    `marks`: draw a mark at each value. `joined`: draw the line between them.
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
    """Lines over one pair of axes; `share`: y is a share, shown as 0 to 100 percent."""

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
        bands = [_without_outliers(side) for line in self.lines for side in (line.low, line.high) if side is not None]
        low, high = _range([line.y for line in self.lines] + bands)
        # values near zero are shown with the zero
        return (0.0 if 0 <= low < 0.3 * high else low), high

    @property
    def x_ticks(self) -> list[Tick]:
        # no tick at 2.5 epochs
        factors = (1, 2, 5) if self.x_label == "epoch" else (1, 2, 2.5, 5)
        return [Tick(self._x(value), format_tick(value)) for value in round_ticks(*self.x_range, MAX_TICKS, factors)]

    @property
    def y_ticks(self) -> list[Tick]:
        return [
            Tick(self._y(value), f"{100 * value:.0f}" if self.share else format_tick(value))
            for value in round_ticks(*self.y_range, MAX_TICKS)
        ]

    def path(self, line: Line) -> str:
        """Return the line's SVG path, with a gap where a value is missing."""
        return _path(self._x(line.x), self._y(line.y))

    def band(self, line: Line) -> str:
        """Return the SVG path around the line's band; empty for a line without one."""
        if line.low is None or line.high is None:
            return ""
        finite = np.isfinite(line.low) & np.isfinite(line.high)
        x, low, high = self._x(line.x[finite]), self._y(line.low[finite]), self._y(line.high[finite])
        # forwards along the upper bound, and back along the lower one
        return _path(np.r_[x, x[::-1]], np.r_[high, low[::-1]]) + "Z" if len(x) else ""

    def points(self, line: Line) -> list[Point]:
        """Return the line's marks."""
        if not line.marks:
            return []
        return [
            Point(round(float(self._x(x)), 1), round(float(self._y(y)), 1), f"{line.label}: {self._tooltip(x, y)}")
            for x, y in zip(line.x, line.y, strict=True)
            if math.isfinite(y)
        ]

    def _tooltip(self, x: float, y: float) -> str:
        value = f"{100 * y:.1f} %" if self.share else f"{y:.4g}"
        return f"{value} at {self.x_label} {x:.4g}"

    def _x(self, values: Any) -> Any:
        low, high = self.x_range
        return LEFT + (values - low) / (high - low) * (RIGHT - LEFT)

    def _y(self, values: Any) -> Any:
        low, high = self.y_range
        # values far outside are cut by the frame anyway, and clipped ones are shorter to write
        return np.clip(BOTTOM - (values - low) / (high - low) * (BOTTOM - TOP), -HEIGHT, 2 * HEIGHT)


def _range(values: Iterable[Floats]) -> tuple[float, float]:
    """Return the smallest and largest finite value, widened where they are equal; 0 and 1 for none."""
    joined = np.concatenate([np.empty(0), *values])
    finite = joined[np.isfinite(joined)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        # an axis of length 0 would divide by 0
        margin = 0.1 * abs(low) or 0.5
        return low - margin, high + margin
    return low, high


def _without_outliers(values: Floats) -> Floats:
    """Return the 3rd and 97th percentile, so that a single spike does not flatten the lines; few values are kept."""
    finite = values[np.isfinite(values)]
    return finite if len(finite) < 8 else np.percentile(finite, [3, 97])


def _path(x: Floats, y: Floats) -> str:
    """Write an SVG path such as `M1 2L3 4`, starting again after each gap."""
    parts, command = [], "M"
    for px, py in zip(x.tolist(), y.tolist(), strict=True):
        if math.isfinite(py):
            parts.append(f"{command}{px:.1f} {py:.1f}")
            command = "L"
        else:
            command = "M"
    return "".join(parts)
