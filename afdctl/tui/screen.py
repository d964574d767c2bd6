"""One frame of the dashboard: every pane in its place, as a pure function of a snapshot and the size."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from afdctl.journal import SCHEMA
from afdctl.tui import keymap
from afdctl.tui.drawing.axis import Range
from afdctl.tui.drawing.cells import Cells, Palette
from afdctl.tui.layout import Layout, PanePlace, compute_layout, page_size
from afdctl.tui.panes import accuracy, attacks, chart, chart_data, charts, header, health, log, prompts
from afdctl.tui.panes.chart import RenderedChart
from afdctl.tui.panes.charts import ChartSpec
from afdctl.tui.session import Options, Session
from afdctl.tui.state.history import MALFORMED, History
from afdctl.tui.system import draw_system
from afdctl.tui.view import Settings, Snapshot, View


# tui/system.py cannot import Snapshot, which has a System
def _draw_system(snapshot: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    return draw_system(snapshot.system, snapshot.checkpoint_bytes, width, height, palette)


PANES = {
    "header": header.draw,
    "status": header.draw_status,
    "health": health.draw,
    "accuracy": accuracy.draw,
    "compare": accuracy.draw_compared,
    "system": _draw_system,
    "log": log.draw,
    "grid": attacks.draw_grid,
    "curves": attacks.draw_curves,
}


@dataclass(frozen=True)
class Frame:
    """The cells, the place of each pane, and the charts that were drawn, by the name of their place."""

    cells: Cells
    places: Layout
    charts: Mapping[str, tuple[ChartSpec, RenderedChart]] = field(default_factory=dict)

    @property
    def axes(self) -> dict[str, Range]:
        """The y range of each chart, by the chart's key."""
        return {spec.key: rendered.y for spec, rendered in self.charts.values()}

    def pane_at(self, x: int, y: int) -> str | None:
        """Return the name of the pane at a cell."""
        return next((name for name, place in self.places.items() if place.contains(x, y)), None)

    def step_at(self, x: int, y: int, history: History, settings: Settings) -> int | None:
        """Return the training step at a cell of a chart; None elsewhere."""
        name = self.pane_at(x, y)
        if name is None or name not in self.charts:
            return None
        spec, rendered = self.charts[name]
        # the middle of the cell
        share = (x - self.places[name].x - rendered.left + 0.5) / max(1, rendered.plot_width)
        x_range = rendered.x_range
        value = x_range.low + min(1.0, max(0.0, share)) * (x_range.high - x_range.low)
        return chart_data.step_at(history, value, settings, spec.per)


def compose_frame(
    snapshot: Snapshot,
    width: int,
    height: int,
    palette: Palette,
    *,
    axes: Mapping[str, Range] | None = None,
    at_cursor: dict[str, float] | None = None,
    dialog: prompts.Dialog | None = None,
    message: str = "",
) -> Frame:
    """Draw all panes. `axes` are those of the last frame, `at_cursor` the metrics logged at the cursor's step."""
    cells = Cells(width, height, palette)
    available = select_charts(snapshot)
    places = compute_layout(
        width,
        height,
        snapshot.view,
        charts=len(available),
        attacks=snapshot.history.sweep.lines if snapshot.shows_sweep else 0,
        compare=bool(snapshot.others),
    )
    page = charts_of_page(snapshot, available, page_size(places))
    charts_by_place = {f"chart {number}": spec for number, spec in enumerate(page)}
    rendered: dict[str, tuple[ChartSpec, RenderedChart]] = {}
    for name, place in places.items():
        with _contain_errors(cells, place):
            if spec := charts_by_place.get(name):
                drawn = chart.draw(
                    spec,
                    snapshot,
                    place.width,
                    place.height,
                    (axes or {}).get(spec.key),
                    palette,
                    focused=snapshot.view.focus == spec.key,
                    at_cursor=at_cursor,
                )
                rendered[name] = spec, drawn
                pane = drawn.cells
            elif name == "footer":
                pane = prompts.draw_footer(keymap.hints(snapshot), place.width, palette, message)
            elif name in PANES:
                pane = PANES[name](snapshot, place.width, place.height, palette)
            else:
                # a place for a chart that this run does not have
                continue
            cells.paste(place.x, place.y, pane)
    if not rendered and "chart 0" in places:
        _draw_placeholder(cells, snapshot, places["chart 0"])
    if dialog:
        prompts.draw_dialog(cells, dialog)
    return Frame(cells, places, rendered)


@contextmanager
def _contain_errors(cells: Cells, place: PanePlace) -> Iterator[None]:
    """Draw an error in the pane's place, so that a strange value in the journal does not end the other panes."""
    try:
        yield
    except (*MALFORMED, OSError) as error:
        box = Cells(place.width, place.height, cells.palette)
        box.frame()
        text = f"a value of the journal cannot be shown: {error}"
        box.put(2, min(1, place.height - 1), (text, cells.palette.ink("warn")), end=place.width - 1)
        cells.paste(place.x, place.y, box)


def select_charts(snapshot: Snapshot) -> list[ChartSpec]:
    """Return the charts that match the filter; only the maximised one, if there is one."""
    matching = charts.filter_charts(charts.available_charts(snapshot.history), snapshot.view.filter)
    return [spec for spec in matching if spec.key == snapshot.view.maximised] or matching


def charts_of_page(snapshot: Snapshot, available: Sequence[ChartSpec], size: int) -> Sequence[ChartSpec]:
    """Return the charts of the current page. The last page is filled up with charts of the one before."""
    size = max(1, size)
    # turning back from the first page shows the last
    pages = max(1, -(-len(available) // size))
    first = (snapshot.view.page % pages) * size
    return available[max(0, min(first, len(available) - size)) :][:size]


def _draw_placeholder(cells: Cells, snapshot: Snapshot, place: PanePlace) -> None:
    """Say why there is no chart yet."""
    box = Cells(place.width, place.height, cells.palette)
    box.frame()
    reasons = {"starting": "the trainer is starting", "not started": "this run has not started"}
    text = reasons.get(snapshot.state.word, "no steps yet")
    if schema := snapshot.history.other_schema:
        text = f"another afdctl wrote this run: it has schema {schema}, this one reads {SCHEMA}"
    x = max(2, (place.width - len(text)) // 2)
    box.put(x, place.height // 2, (text, cells.palette.ink("dim")), end=place.width - 1)
    cells.paste(place.x, place.y, box)


def still_frame(paths: Sequence[Path], width: int, height: int, *, colours: bool, dark: bool = True) -> Cells:
    """Return one frame of runs, read completely, with the default settings."""
    session = Session(paths, Options(read_only=True))
    session.open()
    for run in session.compared or [session.front]:
        # a picture shows the whole of a long journal, not a sample of its lines
        while run.share < 1:
            run.poll(1.0)
    session.poll(View())
    # CPU load is measured between two polls
    time.sleep(0.1)
    session.slow_poll_due = 0.0
    session.poll(View())
    snapshot = session.snapshot(View(Settings()))
    return compose_frame(snapshot, width, height, Palette(dark=dark, depth="true" if colours else "none")).cells
