"""A chart: the curves of one or several runs, with axes, title and cursor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from afdctl.tui.drawing.axis import Range, clip_outliers, figure, fit, stable_range
from afdctl.tui.drawing.cells import Cells, Span, length
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.drawing.plot import Curve, Plot, draw, margins
from afdctl.tui.panes.chart_data import XRange, curve, series_for, x_range, x_ticks
from afdctl.tui.panes.charts import ChartSpec, CurveSpec
from afdctl.tui.snapshot import Snapshot
from afdctl.tui.state.history import History
from afdctl.tui.view import Settings


@dataclass(frozen=True)
class RenderedChart:
    """A chart's cells, the axis it settled on, and where its field lies: the first column and the width."""

    cells: Cells
    y: Range
    part: XRange
    left: int
    field: int


def picture(
    chart: ChartSpec,
    facts: Snapshot,
    width: int,
    height: int,
    before: Range | None,
    palette: Palette,
    *,
    focused: bool = False,
    at_cursor: dict[str, float] | None = None,
) -> RenderedChart:
    """Draw a chart in a frame of this size; `before` is the axis of the last picture."""
    cells = Cells(width, height, palette)
    heading = title(chart, facts, palette, at_cursor)
    if length(heading) > width - 6:
        heading = [span for span in heading if span[0] != f" {chart.about}"]
    if length(heading) > width - 6:
        heading = [(chart.key, heading[0][1]), *heading[1:]]
    part = x_range(facts.history, facts.view, chart.per, [other.history for other in facts.others])
    inner_width, inner_height = width - 4, height - 2
    if inner_width < 8 or inner_height < 2:
        cells.frame(heading, (), focused)
        return RenderedChart(cells, before or Range(0, 1), part, 1, 1)
    # the names of the ticks decide how wide the field is, and the field which values there are: two rounds at most
    left, right = 5, (4 if chart.right else 1)
    for _ in range(2):
        columns = 2 * (inner_width - left - right)
        curves = curves_of(chart, facts, part, columns, palette)
        y = axis_of(chart, curves, facts.view.kept, before)
        plot = Plot(curves, y, chart.right)
        if margins(plot, inner_height)[0] <= left:
            break
        left = margins(plot, inner_height)[0]
    cells.frame(heading, corner(facts, y, palette), focused)
    plot = replace(
        plot,
        goal=chart.goal,
        ticks=x_ticks(facts.history, part, facts.view.kept, chart.per, columns // 2),
        marks=marks(chart, facts, part),
        cursor=cursor(chart, facts, part),
    )
    cells.paste(2, 1, draw(plot, inner_width, inner_height, left, right, palette))
    return RenderedChart(cells, y, part, 2 + left, columns // 2)


def curves_of(chart: ChartSpec, facts: Snapshot, part: XRange, columns: int, palette: Palette) -> list[Curve]:
    """The curves of the run and of those it is compared with; several runs show lines without bands."""
    # a validation is a mean already
    kept = replace(facts.view.kept, beta=0.0) if chart.per == "epoch" else facts.view.kept
    if not facts.others:
        letters = [(trace, trace.name[:1] if palette.depth == "none" else "") for trace in chart.traces]
        series = series_for(facts.history, chart, part, kept)
        known = [(trace, letter) for trace, letter in letters if trace.figure in series.names and series.length]
        return [curve(series, trace, part, columns, kept, letter) for trace, letter in known]
    found = []
    for other in facts.others:
        # a second trace would need a second colour for each run
        trace: CurveSpec = replace(chart.traces[0], colour=other.colour, band=False)
        series = series_for(other.history, chart, part, kept)
        if trace.figure in series.names and series.length:
            found.append(curve(series, trace, part, columns, kept, other.letter))
    return found


def axis_of(chart: ChartSpec, curves: Sequence[Curve], kept: Settings, before: Range | None) -> Range:
    """The range of y: the chart's own, or what holds its lines and most of its bands."""
    if chart.fixed:
        return chart.fixed
    lines = np.concatenate([each.mean for each in curves]) if curves else np.empty(0)
    bands = [edge for each in curves for edge in (each.low, each.high) if edge is not None]
    # what goes below zero has no logarithm: such a chart stays as it is
    log = kept.log_y and not (lines <= 0).any()
    return stable_range(before, fit([lines, clip_outliers(np.concatenate(bands), lines)] if bands else [lines], log))


def title(chart: ChartSpec, facts: Snapshot, palette: Palette, at_cursor: dict[str, float] | None) -> list[Span]:
    """The chart's name and its smoothed values now, or at the cursor what was logged there."""
    spans: list[Span] = [(chart.title, palette.ink("strong", bold=True)), (f" {chart.about}", palette.ink("dim"))]
    if facts.others:
        for other in facts.others:
            value = latest(other.history, chart, chart.traces[0], facts.view.kept)
            spans += [
                (f"  {other.letter} ", palette.ink(other.colour, bold=True)),
                (figure(value), palette.ink(other.colour)),
            ]
        return spans
    for trace in chart.traces:
        value = latest(facts.history, chart, trace, facts.view.kept)
        if at_cursor is not None:
            value = at_cursor.get(trace.figure)
            value = None if value is None else float(trace.transform(np.array(value))) if trace.transform else value
        spans += [("  ", palette.ink("dim")), (f"{trace.name} " if trace.name else "", palette.ink(trace.colour))]
        spans.append((figure(value), palette.ink(trace.colour, bold=True)))
    return spans


def latest(history: History, chart: ChartSpec, trace: CurveSpec, kept: Settings) -> float | None:
    """The last smoothed value of a trace."""
    series = history.validations if chart.per == "epoch" else history.series
    beta = 0.0 if chart.per == "epoch" else max(kept.beta, trace.least)
    value = series.latest(trace.figure, beta)
    return value if value is None or not trace.transform else float(trace.transform(np.array(value)))


def corner(facts: Snapshot, y: Range, palette: Palette) -> list[Span]:
    """What is unusual about the picture: the cursor's step, a logarithmic axis, a part of the whole."""
    view = facts.view
    if view.cursor is not None:
        return [(f"step {view.cursor:,}", palette.ink("focus"))]
    words = ["log"] * y.log + ["zoom"] * (view.zoom is not None)
    return [(" ".join(words), palette.ink("dim"))] if words else []


def marks(chart: ChartSpec, facts: Snapshot, part: XRange) -> list[tuple[float, str]]:
    """An upright line at the best epoch."""
    best = facts.history.best_epoch() if facts.view.kept.best and not facts.others else None
    if best is None:
        return []
    at = place(facts.history, float(best.get("step") or 0), best.get("elapsed"), chart, facts.view.kept)
    share = (at - part.low) / (part.high - part.low)
    return [(share, "dim")]


def cursor(chart: ChartSpec, facts: Snapshot, part: XRange) -> float | None:
    """Where the cursor's step lies, as a share of the width."""
    if facts.view.cursor is None:
        return None
    elapsed = facts.history.elapsed_at(facts.view.cursor) if facts.view.kept.axis == "time" else None
    at = place(facts.history, float(facts.view.cursor), elapsed, chart, facts.view.kept)
    return (at - part.low) / (part.high - part.low)


def place(history: History, step: float, elapsed: float | None, chart: ChartSpec, kept: Settings) -> float:
    """A step on the chart's x."""
    if kept.axis == "time":
        return elapsed or 0.0
    return step / max(1, int(history.run.get("steps_per_epoch") or 1)) if chart.per == "epoch" else step
