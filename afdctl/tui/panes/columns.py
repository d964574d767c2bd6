"""From buckets of steps to dot columns of a chart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdctl.store.series import Series
from afdctl.tui.drawing.plot import Curve
from afdctl.tui.drawing.scale import Floats
from afdctl.tui.panes.charts import Chart, Trace
from afdctl.tui.reading.history import History
from afdctl.tui.view import Kept, View


@dataclass(frozen=True)
class Stretch:
    """What part of x is shown: from `low` to `high`, in steps, epochs or seconds. `following`: up to the present."""

    low: float
    high: float
    following: bool = True


def stretch(history: History, view: View, per: str, others: Sequence[History] = ()) -> Stretch:
    """The part of the x axis that a view shows of a run, and of the `others` that it is compared with."""
    extents = [_extent(each, view.kept, per) for each in (history, *others)]
    now, total = (max(column) for column in zip(*extents, strict=True))
    if view.zoom:
        scale = _scale(history, view.kept, per)
        span = max(view.zoom.span * scale, 2.0)
        end = now if view.zoom.end is None else view.zoom.end * scale
        return Stretch(max(0.0, end - span), max(end, span), view.zoom.end is None)
    match view.kept.window:
        case "last 10 %":
            return Stretch(max(0.0, now - max(0.1 * now, 2.0)), max(now, 2.0))
        case "last 1,000":
            span = max(1000 * now / max(1, history.step), 2.0)
            return Stretch(max(0.0, now - span), max(now, span))
        case "plan":
            return Stretch(0.0, max(total, now, 2.0))
    # the least halving of the plan that holds the present: a column's steps stay the same for long
    high = max(total, 2.0)
    while high / 2 >= max(now, 2.0) * 1.0001:
        high /= 2
    return Stretch(0.0, max(high, now))


def _extent(history: History, kept: Kept, per: str) -> tuple[float, float]:
    """How far the run is and how far it will go, in the unit of x."""
    if kept.axis == "time":
        left = history.seconds_left if history.end is None else 0.0
        return history.elapsed, history.elapsed + (left or 0.0)
    scale = _scale(history, kept, per)
    return history.step * scale, history.steps_total * scale


def _scale(history: History, kept: Kept, per: str) -> float:
    """Units of x in a step. Charts per step count steps also where the axis is called by epochs."""
    if per == "epoch" and kept.axis != "time":
        return 1 / max(1, int(history.run.get("steps_per_epoch") or 1))
    return 1.0


def x_of(series: Series, kept: Kept) -> Floats:
    """Where each bucket lies on x."""
    if kept.axis == "time":
        times = series.mean("elapsed")
        ordered: Floats = np.maximum.accumulate(np.nan_to_num(times, nan=0.0))
        return ordered
    # a step lies at the end of what it took
    return series.steps()


def series_for(history: History, chart: Chart, part: Stretch, kept: Kept) -> Series:
    """The series that shows most of this part: single steps where they are kept, else buckets."""
    if chart.per == "epoch":
        return history.validations
    if history.series.width == 1 or kept.axis == "time" or part.low < history.recent.base:
        return history.series
    return history.recent


def curve(series: Series, trace: Trace, part: Stretch, columns: int, kept: Kept, letter: str = "") -> Curve:
    """A trace in so many dot columns."""
    x = x_of(series, kept)
    edges = np.linspace(part.low, part.high, columns + 1)
    bounds = np.searchsorted(x, edges, side="right")
    bounds[0] = np.searchsorted(x, part.low)
    beta = max(kept.beta, trace.least) if series.length > 8 else 0.0
    line = series.smooth(trace.figure, beta)
    mean = _means(line, bounds)
    low = high = None
    if trace.band and kept.raw:
        lows, highs = series.band(trace.figure)
        low, high = _extreme(np.fmin, lows, bounds), _extreme(np.fmax, highs, bounds)
    broken = _any(series.missing(trace.figure), bounds)
    if trace.transform:
        mean = trace.transform(mean)
    return Curve(mean, broken, trace.colour, letter, low, high, trace.right)


def _filled(bounds: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which columns hold buckets, and where those begin."""
    filled = bounds[1:] > bounds[:-1]
    return filled, bounds[:-1][filled]


def _extreme(choose: np.ufunc, values: Floats, bounds: NDArray[np.int64]) -> Floats:
    out = np.full(len(bounds) - 1, np.nan)
    filled, starts = _filled(bounds)
    if len(starts):
        out[filled] = choose.reduceat(values[: bounds[-1]], starts)
    return out


def _means(values: Floats, bounds: NDArray[np.int64]) -> Floats:
    out = np.full(len(bounds) - 1, np.nan)
    filled, starts = _filled(bounds)
    if len(starts):
        part = values[: bounds[-1]]
        finite = np.isfinite(part)
        number = np.add.reduceat(finite.astype(float), starts)
        with np.errstate(invalid="ignore"):
            out[filled] = np.add.reduceat(np.where(finite, part, 0.0), starts) / np.where(number > 0, number, np.nan)
    return out


def _any(values: NDArray[np.bool_], bounds: NDArray[np.int64]) -> NDArray[np.bool_]:
    out = np.zeros(len(bounds) - 1, bool)
    filled, starts = _filled(bounds)
    if len(starts):
        out[filled] = np.logical_or.reduceat(values[: bounds[-1]], starts)
    return out


def x_of_step(history: History, step: float, kept: Kept) -> float:
    """Where a step lies on the x of a chart per step."""
    return (history.elapsed_at(round(step)) or 0.0) if kept.axis == "time" else step


def step_of(history: History, x: float, kept: Kept, per: str) -> int:
    """The step that lies at x."""
    if kept.axis == "time":
        series = history.series
        if not series.length:
            return 0
        place = min(series.length - 1, int(np.searchsorted(x_of(series, kept), x)))
        return round(float(series.steps()[place]))
    return round(x / _scale(history, kept, per))
