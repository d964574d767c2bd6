"""Axes: where ticks go, what they are called, and a range that does not twitch."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdctl.formatting import format_tick as format_tick
from afdctl.formatting import round_ticks

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Range:
    """What an axis shows, from `low` to `high`, evenly or (`log`) by factors."""

    low: float
    high: float
    log: bool = False

    def place(self, values: Floats) -> Floats:
        """Where values lie: 0 is low, 1 is high; NaN for what a logarithm cannot show."""
        if not self.log:
            shares: Floats = (values - self.low) / (self.high - self.low)
            return shares
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.where(values > 0, values, np.nan))
        places: Floats = (logs - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return places

    def ticks(self, number: int) -> list[float]:
        """At most about `number` round values inside."""
        if self.log:
            return _log_ticks(self.low, self.high, number)
        return round_ticks(self.low, self.high, number)


def fit(values: Iterable[Floats], log: bool = False) -> Range:
    """A range that holds the values, with a little air; without any, 0 to 1."""
    finite = [part[np.isfinite(part) & ((part > 0) | (not log))] for part in values]
    joined = np.concatenate(finite) if finite else np.empty(0)
    if not len(joined):
        return Range(0.1, 1, True) if log else Range(0, 1)
    low, high = float(joined.min()), float(joined.max())
    if log:
        return Range(low / 1.15, max(high * 1.15, low * 1.5), True)
    air = 0.06 * (high - low) or 0.1 * abs(high) or 0.5
    # a loss that comes near zero shows its zero
    return Range(0.0 if 0 <= low < 0.25 * high else low - air, high + air)


def clip_outliers(values: Floats, lines: Floats) -> Floats:
    """The values without those far outside of what the lines and most values do; marks tell of the others."""
    finite = values[np.isfinite(values)]
    if len(finite) < 8:
        return values
    low, high = np.percentile(finite, [2, 98])
    lines = lines[np.isfinite(lines)]
    if len(lines):
        low, high = min(low, lines.min()), max(high, lines.max())
    reach = high - low
    return np.clip(values, low - reach, high + reach)


def stable_range(old: Range | None, new: Range) -> Range:
    """Widen at once, shrink only past 15 %: an axis that moves with every step hides what moves."""
    if old is None or old.log != new.log:
        return new
    low, high = min(old.low, new.low), max(old.high, new.high)
    if new.log:
        kept = (math.log(new.high) - math.log(new.low)) / (math.log(high) - math.log(low))
    else:
        kept = (new.high - new.low) / (high - low)
    return Range(low, high, new.log) if kept > 0.85 else new


def _log_ticks(low: float, high: float, number: int) -> list[float]:
    for factors in ((1, 2, 5), (1, 3), (1,)):
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= max(2, number):
            return ticks
    return ticks[:: -(-len(ticks) // max(2, number))]


def figure(value: float | None) -> str:
    """A figure of a title: three to four digits that count."""
    if value is None or not math.isfinite(value):
        return "—"
    size = abs(value)
    if size >= 1e5 or 0 < size < 1e-4:
        return f"{value:.1e}"
    return (
        f"{value:.0f}"
        if size >= 1000
        else f"{value:.1f}"
        if size >= 100
        else f"{value:.2f}"
        if size >= 10
        else f"{value:.3f}"
    )


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds, or days and hours."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "--:--"
    whole = round(seconds)
    if whole >= 86400:
        return f"{whole // 86400} d {whole % 86400 // 3600} h"
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 60:02d}:{whole % 60:02d}"


def size(number: float) -> str:
    """Bytes, in units of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            return f"{number:.0f} {unit}" if number >= 100 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return ""
