"""The terminal through Textual: the widget that draws on it, and the drivers for stderr and for a browser.

Textual's interface for drivers is not public, so this module uses private names of it: the parser of terminal input,
an app's driver, and a driver's app, file and size. That is why textual is pinned below its next major version.
"""

import os
import re
import signal
from codecs import getincrementaldecoder
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from select import select
from typing import IO, Any

import numpy as np
from rich.style import Style
from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.drivers.web_driver import WebDriver
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from afdctl.tui.drawing.cells import Cells

READ_BYTES = 4096
WAIT_SECONDS = 0.1
MAX_COLUMNS, MAX_ROWS = 1000, 500
# Ctrl-C as terminals send it; read alone, it is not part of an unfinished sequence, such as a paste without its end
INTERRUPTS = (b"\x03", b"\x1b[99;5u")
# terminals' answers to queries that the dashboard never sent; Textual would take them for keys
QUERY_ANSWERS = re.compile(r"\x1b(?:[]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)|\[[?>=][0-9;]*[cnu])")
# changes closer than this are sent as one: moving the cursor costs as many bytes as a few cells
MERGE_DISTANCE = 12


class Canvas(Widget):
    """Shows a frame by its changed cells, and posts what the mouse does on it."""

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
        # Textual would repaint a changed row from its first changed column to the end. Written straight to the driver,
        # four charts of 100,000 points that grow by 160 a second need 3 kB/s.
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


class InputParser:
    """Turns bytes from a terminal into events. Ignores bytes and sequences that are neither text nor keys."""

    def __init__(self) -> None:
        self._parser = XTermParser()
        self._decode = getincrementaldecoder("utf-8")(errors="ignore").decode

    def events(self, data: bytes) -> list[Message]:
        """Return the events of these bytes, which may end in the middle of a sequence."""
        if data in INTERRUPTS:
            self._parser = XTermParser()
        messages: list[Message] = []
        for character in QUERY_ANSWERS.sub("", self._decode(data)):
            try:
                messages += self._parser.feed(character)
            except (ArithmeticError, ValueError):
                # a code point or a size that does not exist; the parser cannot be used after it
                self._parser = XTermParser()
        return messages

    def tick(self) -> Iterable[Message]:
        """Return the events of sequences whose end did not come in time."""
        return self._parser.tick()


class TolerantFile:
    """The file of a terminal. Writing to a terminal that was closed is no error."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()


class StderrDriver(LinuxDriver):
    """Draws on the terminal of stderr, as stdout may be a pipe to another command."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._file: Any = TolerantFile(self._file)

    def _get_terminal_size(self) -> tuple[int, int]:
        """Return the size of stderr's terminal, else of stdin's; Textual asks stdout."""
        for file in (self._file.fileno(), self.fileno):
            with suppress(OSError):
                size = os.get_terminal_size(file)
                if size.columns and size.lines:
                    return size.columns, size.lines
        return super()._get_terminal_size()

    def run_input_thread(self) -> None:
        """Send input to the app until it exits or the terminal is closed."""
        parser = InputParser()
        while not self.exit_event.is_set():
            if select([self.fileno], [], [], WAIT_SECONDS)[0]:
                try:
                    data = os.read(self.fileno, READ_BYTES)
                except OSError:
                    data = b""
                if not data:
                    self._app.call_later(self._app.exit, int(signal.SIGHUP))
                    return
                for event in parser.events(data):
                    self.process_message(event)
            for event in parser.tick():
                self.process_message(event)

    def _run_input_thread(self) -> None:
        """Overrides Textual's, which is private: an error in this thread must end the app, or no key would work."""
        try:
            self.run_input_thread()
        except Exception as error:  # noqa: BLE001 (any error)
            # no public method ends an app with an error
            self._app.call_later(self._app._handle_exception, error)


class ServedDriver(WebDriver):
    """Draws in a browser, through a server on stdin and stdout. The dashboard exits when its server does."""

    def run_input_thread(self) -> None:
        """Send input from the browser to the app, and exit when it ends."""
        super().run_input_thread()
        self._app.call_later(self._app.exit, 0)

    def on_meta(self, packet_type: str, payload: dict[str, object]) -> None:
        """Handle metadata from the browser; ignore a size that is no pair of integers."""
        numbers = payload.get("width"), payload.get("height")
        if packet_type != "resize" or all(type(number) is int for number in numbers):
            super().on_meta(packet_type, payload)


def limit_size(event: events.Resize) -> events.Resize:
    """Return the event with a size that can be drawn, as a client can claim any."""
    width, height = event.size
    size = min(max(1, width), MAX_COLUMNS), min(max(1, height), MAX_ROWS)
    return events.Resize.from_dimensions(size, None)
