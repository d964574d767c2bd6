"""From buckets of steps to dot columns of a chart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdctl.runs.metric_history import MetricHistory
from afdctl.tui.drawing.axis import Floats, Range, duration, format_tick
from afdctl.tui.drawing.plot import Curve
from afdctl.tui.panes.charts import ChartSpec, CurveSpec
from afdctl.tui.state.history import History
from afdctl.tui.view import Settings, View


@dataclass(frozen=True)
class XRange:
    """What part of x is shown: from `low` to `high`, in steps, epochs or seconds. `following`: up to the present."""

    low: float
    high: float
    following: bool = True


def x_range(history: History, view: View, per: str, others: Sequence[History] = ()) -> XRange:
    """The part of the x axis that a view shows of a run, and of the `others` that it is compared with."""
    extents = [_extent(each, view.kept, per) for each in (history, *others)]
    now, total = (max(column) for column in zip(*extents, strict=True))
    if view.zoom:
        scale = _scale(history, view.kept, per)
        span = max(view.zoom.span * scale, 2.0)
        end = now if view.zoom.end is None else view.zoom.end * scale
        return XRange(max(0.0, end - span), max(end, span), view.zoom.end is None)
    match view.kept.window:
        case "last 10 %":
            return XRange(max(0.0, now - max(0.1 * now, 2.0)), max(now, 2.0))
        case "last 1,000":
            span = max(1000 * now / max(1, history.step), 2.0)
            return XRange(max(0.0, now - span), max(now, span))
        case "plan":
            return XRange(0.0, max(total, now, 2.0))
    # the least halving of the plan that holds the present: a column's steps stay the same for long
    high = max(total, 2.0)
    while high / 2 >= max(now, 2.0) * 1.0001:
        high /= 2
    return XRange(0.0, max(high, now))


def _extent(history: History, kept: Settings, per: str) -> tuple[float, float]:
    """How far the run is and how far it will go, in the unit of x."""
    if kept.axis == "time":
        left = history.seconds_left if history.end is None else 0.0
        return history.elapsed, history.elapsed + (left or 0.0)
    scale = _scale(history, kept, per)
    return history.step * scale, history.steps_total * scale


def _scale(history: History, kept: Settings, per: str) -> float:
    """Units of x in a step. Charts per step count steps also where the axis is called by epochs."""
    if per == "epoch" and kept.axis != "time":
        return 1 / max(1, int(history.run.get("steps_per_epoch") or 1))
    return 1.0


def x_of(series: MetricHistory, kept: Settings) -> Floats:
    """Where each bucket lies on x."""
    if kept.axis == "time":
        times = series.mean("elapsed")
        ordered: Floats = np.maximum.accumulate(np.nan_to_num(times, nan=0.0))
        return ordered
    # a step lies at the end of what it took
    return series.steps()


def series_for(history: History, chart: ChartSpec, part: XRange, kept: Settings) -> MetricHistory:
    """The series that shows most of this part: single steps where they are kept, else buckets."""
    if chart.per == "epoch":
        return history.validations
    if history.series.width == 1 or kept.axis == "time" or part.low < history.recent.base:
        return history.series
    return history.recent


def curve(
    series: MetricHistory, trace: CurveSpec, part: XRange, columns: int, kept: Settings, letter: str = ""
) -> Curve:
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


def x_of_step(history: History, step: float, kept: Settings) -> float:
    """Where a step lies on the x of a chart per step."""
    return (history.elapsed_at(round(step)) or 0.0) if kept.axis == "time" else step


def step_of(history: History, x: float, kept: Settings, per: str) -> int:
    """The step that lies at x."""
    if kept.axis == "time":
        series = history.series
        if not series.length:
            return 0
        place = min(series.length - 1, int(np.searchsorted(x_of(series, kept), x)))
        return round(float(series.steps()[place]))
    return round(x / _scale(history, kept, per))


CELLS_PER_TICK = 10
TIMES = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800)


def x_ticks(history: History, part: XRange, kept: Settings, per: str, width: int) -> list[tuple[float, str]]:
    """Where ticks go, as shares of the width, and their names, unit with the last."""
    number = max(1, width // CELLS_PER_TICK)
    steps_per_epoch = max(1, int(history.run.get("steps_per_epoch") or 1))
    name: Callable[[float], str] = whole
    factor = 1.0
    if kept.axis == "time":
        step = next((each for each in TIMES if (part.high - part.low) / each <= number), TIMES[-1])
        first = int(-(-part.low // step))
        ticks = [place * float(step) for place in range(first, int(part.high // step) + 1)]
        return _shares(ticks, part, 1.0, duration)
    if kept.axis == "epoch" and per == "step":
        factor = float(steps_per_epoch)
    ticks = Range(part.low / factor, part.high / factor).ticks(number)
    if kept.axis == "epoch" or per == "epoch":
        name = _epoch
    return _shares([tick for tick in ticks if tick == int(tick)] or ticks, part, factor, name)


def _shares(ticks: list[float], part: XRange, factor: float, name: Callable[[float], str]) -> list[tuple[float, str]]:
    return [((tick * factor - part.low) / (part.high - part.low), name(tick)) for tick in ticks]


def whole(step: float) -> str:
    """A step's name, exact while it is short."""
    return f"{step:,.0f}" if step < 100_000 and step == int(step) else format_tick(step)


def _epoch(epoch: float) -> str:
    return f"ep {format_tick(epoch)}"
