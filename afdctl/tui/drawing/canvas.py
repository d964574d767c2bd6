"""The widget that shows a frame. It sends the terminal only the cells that changed.

Textual would repaint a changed row from its first changed column to the end, so changes are written straight to its
driver: 3 kB/s for four charts of 100,000 points that grow by 160 a second. What Textual repaints itself, after a resize
or a return to the foreground, it gets from `render_lines`.
"""

from itertools import pairwise

import numpy as np
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from afdctl.tui.drawing.cells import Cells

# changes closer than this are sent as one: moving the cursor costs as many bytes as a few cells
MERGE_DISTANCE = 12


class Canvas(Widget):
    """Shows a frame, and posts what the mouse does on it."""

    DEFAULT_CSS = "Canvas { width: 100%; height: 100%; }"

    class Clicked(Message):
        """A click on a cell; `count` is 2 for the second of a double click."""

        def __init__(self, x: int, y: int, count: int) -> None:
            super().__init__()
            self.x, self.y, self.count = x, y, count

    class Dragged(Message):
        """The mouse moved to a cell with a button held."""

        def __init__(self, x: int, y: int) -> None:
            super().__init__()
            self.x, self.y = x, y

    class Scrolled(Message):
        """The wheel turned over a cell."""

        def __init__(self, x: int, y: int, *, up: bool) -> None:
            super().__init__()
            self.x, self.y, self.up = x, y, up

    def __init__(self) -> None:
        super().__init__(id="canvas")
        self._cells: Cells | None = None
        self._strips: list[Strip] = []

    def show(self, cells: Cells) -> list[Region]:
        """Show a frame; return the regions that are repainted."""
        before, self._cells = self._cells, cells
        if before is None or before.codes.shape != cells.codes.shape or before.palette is not cells.palette:
            self._strips = [cells.strip(y) for y in range(cells.height)]
            self.refresh()
            return [Region(0, 0, cells.width, cells.height)]
        regions = changed_regions(before, cells)
        for y in {region.y for region in regions}:
            self._strips[y] = cells.strip(y)
        if regions and self.size == (cells.width, cells.height):
            self._write(escape_codes(cells, regions, self.app.console.color_system))
        return regions

    def _write(self, text: str) -> None:
        """Write to the terminal, as one synchronized update where it supports that."""
        # Textual has no public way to the driver of an app, nor to whether the terminal knows mode 2026
        driver, synchronized = self.app._driver, self.app._sync_available
        if driver is not None and self.app.is_running:
            begin, end = ("\x1b[?2026h", "\x1b[?2026l") if synchronized else ("", "")
            driver.write(f"{begin}{text}{end}")

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Clicked(event.x, event.y, event.chain))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if event.button:
            self.post_message(self.Dragged(event.x, event.y))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.post_message(self.Scrolled(event.x, event.y, up=True))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.post_message(self.Scrolled(event.x, event.y, up=False))

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return a part of the rows. Overrides Textual's, whose cache would hold rows of an older frame."""
        return [self.render_line(y).crop(crop.x, crop.right) for y in crop.line_range]

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y < len(self._strips):
            strip = self._strips[y]
            return strip if strip.cell_length == width else strip.adjust_cell_length(width, Style())
        return Strip.blank(width, Style())


def escape_codes(cells: Cells, regions: list[Region], color_system: str | None) -> str:
    """Return the text that draws regions on a terminal; a style is sent only where it changes."""
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


def changed_regions(before: Cells, after: Cells) -> list[Region]:
    """Return the parts of rows in which two frames of the same size differ."""
    regions = []
    differ = (before.codes != after.codes) | (before.inks != after.inks)
    for y in np.flatnonzero(differ.any(axis=1)).tolist():
        columns = np.flatnonzero(differ[y])
        for part in np.split(columns, np.flatnonzero(np.diff(columns) > MERGE_DISTANCE) + 1):
            regions.append(Region(int(part[0]), y, int(part[-1] - part[0]) + 1, 1))
    return regions
