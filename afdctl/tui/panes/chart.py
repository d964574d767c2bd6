"""A chart: the curves of one or several runs, with axes, title and cursor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from afdctl.formatting import format_number
from afdctl.tui.drawing import plot
from afdctl.tui.drawing.axis import Range, clip_outliers, fit, stable_range
from afdctl.tui.drawing.cells import Cells, Palette, Span, length
from afdctl.tui.drawing.plot import Curve, Plot, margins
from afdctl.tui.panes.chart_data import XRange, metric_history, sample_curve, visible_range, x_ticks
from afdctl.tui.panes.charts import ChartSpec, CurveSpec
from afdctl.tui.state.history import History
from afdctl.tui.view import Settings, Snapshot


@dataclass(frozen=True, kw_only=True)
class RenderedChart:
    """A chart's cells, its ranges, and the first column and the width of its plot area."""

    cells: Cells
    y: Range
    x_range: XRange
    left: int
    plot_width: int


def draw(
    spec: ChartSpec,
    snapshot: Snapshot,
    width: int,
    height: int,
    last_y: Range | None,
    palette: Palette,
    *,
    focused: bool = False,
    at_cursor: dict[str, float] | None = None,
) -> RenderedChart:
    """Draw a chart in a frame. `last_y` is its y range in the last frame, `at_cursor` the metrics at the cursor."""
    cells = Cells(width, height, palette)
    title = _fit_title(_title(spec, snapshot, palette, at_cursor), spec, width - 6)
    x_range = visible_range(snapshot.history, snapshot.view, spec.per, [other.history for other in snapshot.others])
    inner_width, inner_height = width - 4, height - 2
    if inner_width < 8 or inner_height < 2:
        cells.frame(title, (), focused)
        return RenderedChart(cells=cells, y=last_y or Range(0, 1), x_range=x_range, left=1, plot_width=1)
    # tick labels decide how wide the plot is, and that decides which values it shows; two rounds are enough
    left, right = 5, (4 if spec.right else 1)
    for _ in range(2):
        columns = 2 * (inner_width - left - right)
        curves = sample_curves(spec, snapshot, x_range, columns, palette)
        y = _y_range(spec, curves, snapshot.view.settings, last_y)
        chart_plot = Plot(curves=curves, y=y, right=spec.right)
        if margins(chart_plot, inner_height)[0] <= left:
            break
        left = margins(chart_plot, inner_height)[0]
    cells.frame(title, _corner(snapshot, y, palette), focused)
    chart_plot = replace(
        chart_plot,
        goal=spec.goal,
        ticks=x_ticks(snapshot.history, x_range, snapshot.view.settings, spec.per, columns // 2),
        marks=_best_epoch_mark(spec, snapshot, x_range),
        cursor=_cursor(spec, snapshot, x_range),
    )
    cells.paste(2, 1, plot.draw(chart_plot, inner_width, inner_height, left, right, palette))
    return RenderedChart(cells=cells, y=y, x_range=x_range, left=2 + left, plot_width=columns // 2)


def sample_curves(spec: ChartSpec, snapshot: Snapshot, x_range: XRange, columns: int, palette: Palette) -> list[Curve]:
    """Return the curves of the run, or the first one of each compared run without its band."""
    # a validation is a mean already
    settings = replace(snapshot.view.settings, beta=0.0) if spec.per == "epoch" else snapshot.view.settings
    if not snapshot.others:
        history = metric_history(snapshot.history, spec, x_range, settings)
        return [
            # without colours, letters distinguish the curves
            sample_curve(history, curve, x_range, columns, settings, curve.name[:1] if palette.depth == "none" else "")
            for curve in spec.curves
            if curve.metric in history.names and history.length
        ]
    curves = []
    for other in snapshot.others:
        # a second curve would need a second colour for each run
        curve = replace(spec.curves[0], colour=other.colour, band=False)
        history = metric_history(other.history, spec, x_range, settings)
        if curve.metric in history.names and history.length:
            curves.append(sample_curve(history, curve, x_range, columns, settings, other.letter))
    return curves


def _y_range(spec: ChartSpec, curves: Sequence[Curve], settings: Settings, last_y: Range | None) -> Range:
    """Return the constant range of the chart, or one that holds its lines and most of its bands."""
    if spec.fixed:
        return spec.fixed
    lines = np.concatenate([curve.mean for curve in curves]) if curves else np.empty(0)
    bands = [edge for curve in curves for edge in (curve.low, curve.high) if edge is not None]
    # a chart with values at or below zero stays linear
    log = settings.log_y and not (lines <= 0).any()
    return stable_range(last_y, fit([lines, clip_outliers(np.concatenate(bands), lines)] if bands else [lines], log))


def _title(spec: ChartSpec, snapshot: Snapshot, palette: Palette, at_cursor: dict[str, float] | None) -> list[Span]:
    """Return the chart's name and its latest smoothed values, or those logged at the cursor."""
    spans: list[Span] = [(spec.title, palette.ink("strong", bold=True)), (f" {spec.about}", palette.ink("dim"))]
    settings = snapshot.view.settings
    if snapshot.others:
        for other in snapshot.others:
            value = _latest(other.history, spec, spec.curves[0], settings)
            spans.append((f"  {other.letter} ", palette.ink(other.colour, bold=True)))
            spans.append((format_number(value), palette.ink(other.colour)))
        return spans
    for curve in spec.curves:
        if at_cursor is None:
            value = _latest(snapshot.history, spec, curve, settings)
        else:
            value = _transform(curve, at_cursor.get(curve.metric))
        spans += [("  ", palette.ink("dim")), (f"{curve.name} " if curve.name else "", palette.ink(curve.colour))]
        spans.append((format_number(value), palette.ink(curve.colour, bold=True)))
    return spans


def _fit_title(title: list[Span], spec: ChartSpec, width: int) -> list[Span]:
    """Shorten a title that is too long: first by the description, then to the chart's key."""
    if length(title) > width:
        title = [span for span in title if span[0] != f" {spec.about}"]
    if length(title) > width:
        title = [(spec.key, title[0][1]), *title[1:]]
    return title


def _latest(history: History, spec: ChartSpec, curve: CurveSpec, settings: Settings) -> float | None:
    """Return the latest smoothed value of a curve."""
    if spec.per == "epoch":
        return _transform(curve, history.validations.latest(curve.metric, 0.0))
    return _transform(curve, history.series.latest(curve.metric, max(settings.beta, curve.min_beta)))


def _transform(curve: CurveSpec, value: float | None) -> float | None:
    return value if value is None or not curve.transform else float(curve.transform(np.array(value)))


def _corner(snapshot: Snapshot, y: Range, palette: Palette) -> list[Span]:
    """Return the cursor's step, or whether the axis is logarithmic or zoomed."""
    view = snapshot.view
    if view.cursor is not None:
        return [(f"step {view.cursor:,}", palette.ink("focus"))]
    words = ["log"] * y.log + ["zoom"] * (view.zoom is not None)
    return [(" ".join(words), palette.ink("dim"))] if words else []


def _best_epoch_mark(spec: ChartSpec, snapshot: Snapshot, x_range: XRange) -> list[tuple[float, str]]:
    """Return the position and colour of the vertical line at the best epoch."""
    # the lines of several runs could not be distinguished
    show = snapshot.view.settings.best and not snapshot.others
    best = snapshot.history.best_epoch() if show else None
    if best is None:
        return []
    step = float(best.get("step") or 0)
    x = _x_of(snapshot.history, step, best.get("elapsed"), spec, snapshot.view.settings)
    return [(x_range.fraction(x), "dim")]


def _cursor(spec: ChartSpec, snapshot: Snapshot, x_range: XRange) -> float | None:
    """Return the position of the cursor as a fraction of the width."""
    step, settings = snapshot.view.cursor, snapshot.view.settings
    if step is None:
        return None
    elapsed = snapshot.history.elapsed_at(step) if settings.axis == "time" else None
    return x_range.fraction(_x_of(snapshot.history, float(step), elapsed, spec, settings))


def _x_of(history: History, step: float, elapsed: float | None, spec: ChartSpec, settings: Settings) -> float:
    """Return a step in the unit of the chart's x axis."""
    if settings.axis == "time":
        return elapsed or 0.0
    return step / max(1, int(history.run.get("steps_per_epoch") or 1)) if spec.per == "epoch" else step
