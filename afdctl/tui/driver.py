"""The terminals that the dashboard draws on: that of stderr, or a browser's by way of its server."""

import os
import re
import signal
from codecs import getincrementaldecoder
from collections.abc import Iterable
from contextlib import suppress
from select import select
from typing import IO, Any

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.drivers.web_driver import WebDriver
from textual.message import Message

CHUNK = 4096
WAIT_SECONDS = 0.1
MOST_COLUMNS, MOST_ROWS = 1000, 500
INTERRUPTS = (b"\x03", b"\x1b[99;5u")
"""Ctrl-C, as terminals send it. Alone it is never part of something longer, such as a paste whose end got lost."""
ANSWERS = re.compile(r"\x1b(?:[]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)|\[[?>=][0-9;]*[cnu])")
"""What a terminal answers to questions that the dashboard never asked; the library would take it for keys."""


class Reader:
    """Turns what a terminal sends into events. Bytes and sequences that are not text or keys are ignored."""

    def __init__(self) -> None:
        self._parser = XTermParser()
        self._decode = getincrementaldecoder("utf-8")(errors="ignore").decode

    def events(self, data: bytes) -> list[Message]:
        """The events of these bytes, which may end in the middle of a sequence."""
        if data in INTERRUPTS:
            self._parser = XTermParser()
        found: list[Message] = []
        for character in ANSWERS.sub("", self._decode(data)):
            try:
                found += self._parser.feed(character)
            except (ArithmeticError, ValueError):
                # a code point or a size that does not exist: the parser does not survive that
                self._parser = XTermParser()
        return found

    def tick(self) -> Iterable[Message]:
        """The events of sequences that have waited too long for their end."""
        return self._parser.tick()


class Screen:
    """The file that is drawn on. A terminal that is gone takes what is written to it along, without an error."""

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
    """The terminal of stderr: stdout may be a pipe to another command."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._file: Any = Screen(self._file)

    def _get_terminal_size(self) -> tuple[int, int]:
        for file in (self._file.fileno(), self.fileno):
            with suppress(OSError):
                size = os.get_terminal_size(file)
                if size.columns and size.lines:
                    return size.columns, size.lines
        return super()._get_terminal_size()

    def run_input_thread(self) -> None:
        """Send the dashboard what is typed, until it ends or its terminal is gone."""
        reader = Reader()
        while not self.exit_event.is_set():
            if select([self.fileno], [], [], WAIT_SECONDS)[0]:
                try:
                    data = os.read(self.fileno, CHUNK)
                except OSError:
                    data = b""
                if not data:
                    self._app.call_later(self._app.exit, int(signal.SIGHUP))
                    return
                for event in reader.events(data):
                    self.process_message(event)
            for event in reader.tick():
                self.process_message(event)

    def _run_input_thread(self) -> None:
        """End the dashboard with the error of this thread: without it, no key would do anything any more."""
        try:
            self.run_input_thread()
        except Exception as error:  # noqa: BLE001 (whatever it is)
            self._app.call_later(self._app._handle_exception, error)


class ServedDriver(WebDriver):
    """A browser, by way of a server on the other ends of stdin and stdout. The dashboard ends with its server."""

    def run_input_thread(self) -> None:
        """Send the dashboard what comes from the browser; when no more can come, end it."""
        super().run_input_thread()
        self._app.call_later(self._app.exit, 0)

    def on_meta(self, packet_type: str, payload: dict[str, object]) -> None:
        """Take what the browser tells of itself; a size must be one."""
        numbers = payload.get("width"), payload.get("height")
        if packet_type != "resize" or all(type(number) is int for number in numbers):
            super().on_meta(packet_type, payload)


def bounded(event: events.Resize) -> events.Resize:
    """The event with a size that can be drawn: whatever is on the other end may claim any."""
    width, height = event.size
    size = min(max(1, width), MOST_COLUMNS), min(max(1, height), MOST_ROWS)
    return events.Resize.from_dimensions(size, None)
