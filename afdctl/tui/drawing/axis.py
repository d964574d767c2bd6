"""Axis ranges and ticks: round ticks, their labels, and ranges that stay stable from frame to frame."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdctl.formatting import round_ticks

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Range:
    """The range of a linear or logarithmic (`log`) axis."""

    low: float
    high: float
    log: bool = False

    def fraction(self, values: Floats) -> Floats:
        """Map values to [0, 1] on the axis; NaN for values without a logarithm."""
        if not self.log:
            linear: Floats = (values - self.low) / (self.high - self.low)
            return linear
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.where(values > 0, values, np.nan))
        fractions: Floats = (logs - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return fractions

    def ticks(self, number: int) -> list[float]:
        """At most about `number` round values inside."""
        if self.log:
            return _log_ticks(self.low, self.high, number)
        return round_ticks(self.low, self.high, number)


def fit(values: Iterable[Floats], log: bool = False) -> Range:
    """Return a range that holds all finite values, with a margin of 6 %; 0 to 1 if there are none."""
    finite = [array[np.isfinite(array) & ((array > 0) | (not log))] for array in values]
    joined = np.concatenate(finite) if finite else np.empty(0)
    if not len(joined):
        return Range(0.1, 1, True) if log else Range(0, 1)
    low, high = float(joined.min()), float(joined.max())
    if log:
        return Range(low / 1.15, max(high * 1.15, low * 1.5), True)
    # a constant curve gets a margin too, as an axis needs a length
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 0.5
    # the axis of a loss that comes near zero begins at zero
    return Range(0.0 if 0 <= low < 0.25 * high else low - margin, high + margin)


def clip_outliers(values: Floats, lines: Floats) -> Floats:
    """Clip values far outside the range of the lines and of the middle 96 % of the values."""
    finite = values[np.isfinite(values)]
    if len(finite) < 8:
        return values
    # without this, one spike would flatten the rest of the curve
    low, high = np.percentile(finite, [2, 98])
    lines = lines[np.isfinite(lines)]
    if len(lines):
        low, high = min(low, lines.min()), max(high, lines.max())
    span = high - low
    return np.clip(values, low - span, high + span)


def stable_range(old: Range | None, new: Range) -> Range:
    """Return a range that widens at once but shrinks only by more than 15 %, so that axes do not move every step."""
    if old is None or old.log != new.log:
        return new
    low, high = min(old.low, new.low), max(old.high, new.high)
    if new.log:
        share = (math.log(new.high) - math.log(new.low)) / (math.log(high) - math.log(low))
    else:
        share = (new.high - new.low) / (high - low)
    return Range(low, high, new.log) if share > 0.85 else new


def _log_ticks(low: float, high: float, number: int) -> list[float]:
    # the more decades, the fewer ticks in each
    for factors in ((1, 2, 5), (1, 3), (1,)):
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= max(2, number):
            return ticks
    return ticks[:: -(-len(ticks) // max(2, number))]
