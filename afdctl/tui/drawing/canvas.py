"""The one widget: it shows cells, and sends only those that changed. That is what keeps a slow line quiet.

The library would send a changed row from its first column on; so changes go straight to its driver. All that it paints
by itself, after a resize or when the program comes back to the foreground, it asks `render_lines` for.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from afdctl.tui import keymap
from afdctl.tui.drawing.cells import Cells

if TYPE_CHECKING:
    from afdctl.tui.app import Dashboard

NEAR = 12
"""Changes closer than this are sent as one: a cursor move costs as much as a few cells."""


class Canvas(Widget):
    """Shows the cells it was given last."""

    DEFAULT_CSS = "Canvas { width: 100%; height: 100%; }"

    def __init__(self) -> None:
        super().__init__(id="canvas")
        self._cells: Cells | None = None
        self._strips: list[Strip] = []

    def show(self, cells: Cells, *, everything: bool = False) -> list[Region]:
        """Take new cells; returns what is repainted. `everything`: the colours have changed."""
        before, self._cells = self._cells, cells
        if (
            everything
            or before is None
            or before.codes.shape != cells.codes.shape
            or before.palette is not cells.palette
        ):
            self._strips = [cells.strip(y) for y in range(cells.height)]
            self.refresh()
            return [Region(0, 0, cells.width, cells.height)]
        regions = changes(before, cells)
        for y in {region.y for region in regions}:
            self._strips[y] = cells.strip(y)
        if regions and self.size == (cells.width, cells.height):
            self.send(escapes(cells, regions, self.app.console.color_system))
        return regions

    def send(self, text: str) -> None:
        """Write to the terminal, as one frame where it knows such."""
        driver = self.app._driver
        if driver is not None and self.app.is_running:
            begin, end = ("\x1b[?2026h", "\x1b[?2026l") if self.app._sync_available else ("", "")
            driver.write(f"{begin}{text}{end}")

    @property
    def dashboard(self) -> "Dashboard":
        return cast("Dashboard", self.app)

    def on_click(self, event: events.Click) -> None:
        keymap.click(self.dashboard, event.x, event.y, event.chain)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if event.button:
            keymap.drag(self.dashboard, event.x, event.y)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        keymap.wheel(self.dashboard, event.x, event.y, 0.5)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        keymap.wheel(self.dashboard, event.x, event.y, 2.0)

    def render_lines(self, crop: Region) -> list[Strip]:
        """The rows of a part; nothing is kept of what was painted before."""
        return [self.render_line(y).crop(crop.x, crop.right) for y in crop.line_range]

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y < len(self._strips):
            strip = self._strips[y]
            return strip if strip.cell_length == width else strip.adjust_cell_length(width, Style())
        return Strip.blank(width, Style())


def escapes(cells: Cells, regions: list[Region], color_system: str | None) -> str:
    """What draws parts of rows on a terminal: the cursor's moves, and a style only where it changes."""
    out, last = [], -1
    for x, y, width, _ in regions:
        out.append(f"\x1b[{y + 1};{x + 1}H")
        inks = cells.inks[y, x : x + width]
        text = cells.codes[y, x : x + width].tobytes().decode("utf-32-le")
        edges = [0, *(np.flatnonzero(inks[1:] != inks[:-1]) + 1).tolist(), width]
        for begin, end in pairwise(edges):
            if (ink := int(inks[begin])) != last:
                out.append(f"\x1b[0{cells.palette.codes(ink, color_system)}m")
                last = ink
            out.append(text[begin:end])
    return "".join([*out, "\x1b[0m"])


def changes(before: Cells, after: Cells) -> list[Region]:
    """The parts of rows in which two rectangles of one size differ."""
    regions = []
    differ = (before.codes != after.codes) | (before.inks != after.inks)
    for y in np.flatnonzero(differ.any(axis=1)).tolist():
        columns = np.flatnonzero(differ[y])
        for part in np.split(columns, np.flatnonzero(np.diff(columns) > NEAR) + 1):
            regions.append(Region(int(part[0]), y, int(part[-1] - part[0]) + 1, 1))
    return regions
