"""Textual drivers: for the terminal of stderr, and for a browser behind a server.

Textual's interface for drivers is not public, so this module uses private names of it: the parser of terminal input,
and a driver's app, file and size. That is why textual is pinned below its next major version.
"""

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

READ_BYTES = 4096
WAIT_SECONDS = 0.1
MAX_COLUMNS, MAX_ROWS = 1000, 500
# Ctrl-C as terminals send it; read alone, it is not part of an unfinished sequence, such as a paste without its end
INTERRUPTS = (b"\x03", b"\x1b[99;5u")
# terminals' answers to queries that the dashboard never sent; Textual would take them for keys
QUERY_ANSWERS = re.compile(r"\x1b(?:[]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)|\[[?>=][0-9;]*[cnu])")


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
