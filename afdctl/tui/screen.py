"""The whole picture: every pane in its place, as a pure function of facts and size."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from afdctl.journal import SCHEMA
from afdctl.tui.drawing.axis import Range
from afdctl.tui.drawing.cells import Cells
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.layout import Layout, PanePlace, compute_layout, page_size
from afdctl.tui.panes import accuracy, attacks, charts, compare, dialogs, footer, header, health, log, status, system
from afdctl.tui.panes.chart import RenderedChart, picture
from afdctl.tui.panes.charts import ChartSpec
from afdctl.tui.session import Options, Session
from afdctl.tui.snapshot import Snapshot
from afdctl.tui.state.history import MALFORMED
from afdctl.tui.view import Settings, View

PANES = {
    "header": header.draw,
    "game": health.draw,
    "accuracy": accuracy.draw,
    "system": system.draw,
    "log": log.draw,
    "status": status.draw,
    "grid": attacks.draw_grid,
    "curves": attacks.draw_curves,
    "compare": compare.draw,
}


@dataclass(frozen=True)
class Frame:
    """The cells, the place of each pane, and the charts that are drawn, by the name of their place."""

    cells: Cells
    places: Layout
    charts: Mapping[str, tuple[ChartSpec, RenderedChart]] = field(default_factory=dict)

    @property
    def axes(self) -> dict[str, Range]:
        """The y axis that each chart settled on, by its key."""
        return {chart.key: drawn.y for chart, drawn in self.charts.values()}


def compose(
    facts: Snapshot,
    width: int,
    height: int,
    palette: Palette,
    *,
    axes: Mapping[str, Range] | None = None,
    at_cursor: dict[str, float] | None = None,
    dialog: dialogs.Dialog | None = None,
    message: str = "",
) -> Frame:
    """Draw everything. `axes` are those of the last picture, `at_cursor` the figures logged at the cursor's step."""
    cells = Cells(width, height, palette)
    shown = chosen(facts)
    attacks = facts.history.sweep.lines if facts.shows_sweep else 0
    places = compute_layout(width, height, facts.view, charts=len(shown), attacks=attacks, compare=bool(facts.others))
    page = page_of(facts, shown, page_size(places))
    drawn: dict[str, tuple[ChartSpec, RenderedChart]] = {}
    for name, place in places.items():
        if name.startswith("chart"):
            number = int(name.split()[1])
            if number < len(page):
                with _contained(cells, place):
                    drawn[name] = _chart(cells, page[number], facts, place, axes or {}, palette, at_cursor)
        elif name == "footer":
            cells.paste(place.x, place.y, _footer(facts, place, palette, message))
        else:
            with _contained(cells, place):
                cells.paste(place.x, place.y, PANES[name](facts, place.width, place.height, palette))
    if not drawn and "chart 0" in places:
        _nothing(cells, facts, places["chart 0"], palette)
    if dialog:
        dialogs.draw(cells, dialog)
    return Frame(cells, places, drawn)


@contextmanager
def _contained(cells: Cells, place: PanePlace) -> Iterator[None]:
    """Say so in the pane's place where it cannot be drawn: a strange value must not take the other panes along."""
    try:
        yield
    except (*MALFORMED, OSError) as error:
        box = Cells(place.width, place.height, cells.palette)
        box.frame()
        words = f"a value of the journal cannot be shown: {error}"
        box.put(2, min(1, place.height - 1), (words, cells.palette.ink("warn")), end=place.width - 1)
        cells.paste(place.x, place.y, box)


def chosen(facts: Snapshot) -> list[ChartSpec]:
    """The charts that may be shown, by the filter and by what is maximised."""
    found = charts.matching(charts.of(facts.history), facts.view.filter)
    maximised = [chart for chart in found if chart.key == facts.view.maximised]
    return maximised or found


def page_of(facts: Snapshot, shown: Sequence[ChartSpec], size: int) -> Sequence[ChartSpec]:
    """The charts of the present page; the last page is as full as the others."""
    size = max(1, size)
    pages = max(1, -(-len(shown) // size))
    first = (facts.view.page % pages) * size
    return shown[max(0, min(first, len(shown) - size)) :][:size]


def _chart(
    cells: Cells,
    chart: ChartSpec,
    facts: Snapshot,
    place: PanePlace,
    axes: Mapping[str, Range],
    palette: Palette,
    at_cursor: dict[str, float] | None,
) -> tuple[ChartSpec, RenderedChart]:
    focused = facts.view.focus == chart.key
    drawn = picture(
        chart, facts, place.width, place.height, axes.get(chart.key), palette, focused=focused, at_cursor=at_cursor
    )
    cells.paste(place.x, place.y, drawn.cells)
    return chart, drawn


def _footer(facts: Snapshot, place: PanePlace, palette: Palette, message: str) -> Cells:
    if not message:
        return footer.draw(facts, place.width, palette)
    cells = Cells(place.width, 1, palette)
    cells.put(1, 0, (message, palette.ink("strong", bold=True)))
    return cells


def _nothing(cells: Cells, facts: Snapshot, place: PanePlace, palette: Palette) -> None:
    """What to say while there is no step to draw."""
    box = Cells(place.width, place.height, palette)
    box.frame()
    word = {"starting": "the trainer is starting", "not started": "this run has not started"}.get(
        facts.state.word, "no steps yet"
    )
    if schema := facts.history.other_schema:
        word = f"another afdctl wrote this run: it has schema {schema}, this one reads {SCHEMA}"
    box.put(max(2, (place.width - len(word)) // 2), place.height // 2, (word, palette.ink("dim")), end=place.width - 1)
    cells.paste(place.x, place.y, box)


def frame(paths: Sequence[Path], width: int, height: int, *, colours: bool, dark: bool = True) -> Cells:
    """The dashboard as it is now, with everything read and with nobody's settings."""
    session = Session(paths, Options(read_only=True))
    session.open()
    for run in session.compared or [session.front]:
        while run.share < 1:
            run.poll(1.0)
    session.poll(View())
    # the load of the processor is over the time since it was first asked for
    time.sleep(0.1)
    session.slow_due = 0.0
    session.poll(View())
    facts = session.facts(View(Settings()))
    return compose(facts, width, height, Palette(dark, "true" if colours else "none")).cells
