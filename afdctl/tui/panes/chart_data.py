"""The data of a chart: the visible part of x, metrics resampled to columns of dots, and ticks of x."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afdctl.formatting import format_duration, format_tick
from afdctl.runs.metric_history import MetricHistory
from afdctl.tui.drawing.axis import Floats, Range
from afdctl.tui.drawing.plot import Curve
from afdctl.tui.panes.charts import ChartSpec, CurveSpec
from afdctl.tui.state.history import History
from afdctl.tui.view import Settings, View


@dataclass(frozen=True)
class XRange:
    """The visible part of x, in steps, epochs or seconds. `following` means that it ends at the latest step."""

    low: float
    high: float
    following: bool = True

    def fraction(self, x: float) -> float:
        """Map x to [0, 1] in the range."""
        return (x - self.low) / (self.high - self.low)


def visible_range(history: History, view: View, per: str, others: Sequence[History] = ()) -> XRange:
    """Return the part of x that a view shows of a run and of the `others` that it is compared with."""
    extents = [_extent(run_history, view.settings, per) for run_history in (history, *others)]
    now, total = (max(values) for values in zip(*extents, strict=True))
    if view.zoom:
        scale = _scale(history, view.settings, per)
        span = max(view.zoom.span * scale, 2.0)
        end = now if view.zoom.end is None else view.zoom.end * scale
        return XRange(max(0.0, end - span), max(end, span), view.zoom.end is None)
    match view.settings.window:
        case "last 10 %":
            return XRange(max(0.0, now - max(0.1 * now, 2.0)), max(now, 2.0))
        case "last 1,000":
            span = max(1000 * now / max(1, history.step), 2.0)
            return XRange(max(0.0, now - span), max(now, span))
        case "plan":
            return XRange(0.0, max(total, now, 2.0))
    # the plan, halved as often as the present allows: the steps of a column rarely change
    high = max(total, 2.0)
    while high / 2 >= max(now, 2.0) * 1.0001:
        high /= 2
    return XRange(0.0, max(high, now))


def _extent(history: History, settings: Settings, per: str) -> tuple[float, float]:
    """Return the present and the planned end of a run in the unit of x."""
    if settings.axis == "time":
        seconds_left = history.rates.seconds_left if history.end is None else 0.0
        return history.elapsed, history.elapsed + (seconds_left or 0.0)
    scale = _scale(history, settings, per)
    return history.step * scale, history.steps_total * scale


def _scale(history: History, settings: Settings, per: str) -> float:
    """Return the units of x per step. Charts per step count steps, even where the ticks are epochs."""
    if per == "epoch" and settings.axis != "time":
        return 1 / max(1, int(history.run.get("steps_per_epoch") or 1))
    return 1.0


def _bucket_x(series: MetricHistory, settings: Settings) -> Floats:
    """Return the x of each bucket."""
    if settings.axis == "time":
        times = series.mean("elapsed")
        # ascending for searchsorted; a bucket without a time takes the one before
        ordered: Floats = np.maximum.accumulate(np.nan_to_num(times, nan=0.0))
        return ordered
    return series.steps()


def metric_history(history: History, spec: ChartSpec, x_range: XRange, settings: Settings) -> MetricHistory:
    """Return the metrics in the finest resolution for this range: single recent steps, or buckets of all steps."""
    if spec.per == "epoch":
        return history.validations
    if history.series.width == 1 or settings.axis == "time" or x_range.low < history.recent.base:
        return history.series
    return history.recent


def sample_curve(
    series: MetricHistory, spec: CurveSpec, x_range: XRange, columns: int, settings: Settings, letter: str = ""
) -> Curve:
    """Resample a metric to columns of dots."""
    x = _bucket_x(series, settings)
    # column c holds the buckets with edges[c] < x <= edges[c + 1]; the first one also those at its lower edge
    edges = np.linspace(x_range.low, x_range.high, columns + 1)
    bounds = np.searchsorted(x, edges, side="right")
    bounds[0] = np.searchsorted(x, x_range.low)
    # smoothing would hide the first few steps
    beta = max(settings.beta, spec.min_beta) if series.length > 8 else 0.0
    mean = _mean_by_column(series.smooth(spec.metric, beta), bounds)
    low = high = None
    if spec.band and settings.raw:
        lows, highs = series.band(spec.metric)
        low = _reduce_by_column(np.fmin, lows, bounds, np.nan)
        high = _reduce_by_column(np.fmax, highs, bounds, np.nan)
    broken = _reduce_by_column(np.logical_or, series.missing(spec.metric), bounds, False).astype(bool)
    return Curve(
        mean=spec.transform(mean) if spec.transform else mean,
        broken=broken,
        colour=spec.colour,
        letter=letter,
        low=low,
        high=high,
        right=spec.right,
    )


def _reduce_by_column(reduce: np.ufunc, values: NDArray[Any], bounds: NDArray[np.int64], empty: float) -> NDArray[Any]:
    """Reduce the values of each column; column c holds values[bounds[c]:bounds[c + 1]]."""
    columns = np.full(len(bounds) - 1, empty)
    filled = bounds[1:] > bounds[:-1]
    starts = bounds[:-1][filled]
    if len(starts):
        # cut at the last bound: the last part of reduceat goes to the end of its array
        columns[filled] = reduce.reduceat(values[: bounds[-1]], starts)
    return columns


def _mean_by_column(values: Floats, bounds: NDArray[np.int64]) -> Floats:
    """Return the mean of the finite values of each column, NaN without any."""
    finite = np.isfinite(values)
    counts = _reduce_by_column(np.add, finite.astype(float), bounds, 0.0)
    sums = _reduce_by_column(np.add, np.where(finite, values, 0.0), bounds, 0.0)
    means: Floats = sums / np.where(counts > 0, counts, np.nan)
    return means


def x_of_step(history: History, step: float, settings: Settings) -> float:
    """Return the x of a step in a chart per step."""
    return (history.elapsed_at(round(step)) or 0.0) if settings.axis == "time" else step


def step_at(history: History, x: float, settings: Settings, per: str) -> int:
    """Return the step at x."""
    if settings.axis == "time":
        series = history.series
        if not series.length:
            return 0
        place = min(series.length - 1, int(np.searchsorted(_bucket_x(series, settings), x)))
        return round(float(series.steps()[place]))
    return round(x / _scale(history, settings, per))


CELLS_PER_TICK = 10
# steps of the time axis in seconds, up to a week
TIME_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800)


def x_ticks(history: History, x_range: XRange, settings: Settings, per: str, width: int) -> list[tuple[float, str]]:
    """Return the ticks as fractions of the width, with labels."""
    number = max(1, width // CELLS_PER_TICK)
    if settings.axis == "time":
        span = x_range.high - x_range.low
        step = next((seconds for seconds in TIME_STEPS if span / seconds <= number), TIME_STEPS[-1])
        first, last = int(-(-x_range.low // step)), int(x_range.high // step)
        times = [place * float(step) for place in range(first, last + 1)]
        return [(x_range.fraction(time), format_duration(time)) for time in times]
    # steps with epochs as labels
    unit = 1.0
    if settings.axis == "epoch" and per == "step":
        unit = float(max(1, int(history.run.get("steps_per_epoch") or 1)))
    ticks = Range(x_range.low / unit, x_range.high / unit).ticks(number)
    ticks = [tick for tick in ticks if tick == int(tick)] or ticks
    label = _format_epoch if settings.axis == "epoch" or per == "epoch" else _format_step
    return [(x_range.fraction(tick * unit), label(tick)) for tick in ticks]


def _format_step(step: float) -> str:
    return f"{step:,.0f}" if step < 100_000 and step == int(step) else format_tick(step)


def _format_epoch(epoch: float) -> str:
    return f"ep {format_tick(epoch)}"
