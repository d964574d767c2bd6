"""The Textual app: polls the session on a timer, redraws, and passes keys and mouse to the keymap."""

import asyncio
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult

from afdctl.errors import AfdctlError, DiskFullError
from afdctl.tui import actions, export, keymap
from afdctl.tui.drawing.cells import Depth, Palette
from afdctl.tui.panes.prompts import Dialog, hint_at
from afdctl.tui.screen import Frame, compose_frame
from afdctl.tui.session import Options, Session
from afdctl.tui.terminal import Canvas, ServedDriver, StderrDriver, limit_size
from afdctl.tui.view import View, load_settings, save_settings

POLL_INTERVAL = 0.25
# while the beginning of a long journal is being read
CATCH_UP_INTERVAL = 0.01
MESSAGE_SECONDS = 4.0
NICENESS = 10
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# the zoom factor of one notch of the mouse wheel
WHEEL_UP, WHEEL_DOWN = 0.5, 2.0


class CrashError(AfdctlError):
    """The dashboard failed. Trainings are other processes and continue."""


class Dashboard(App[int]):
    """Shows runs until the user leaves; returns 0, or the number of the signal that ended it."""

    CSS = "Screen { overflow: hidden; }"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar = []

    def __init__(self, paths: list[Path], options: Options, *, depth: Depth | None = None) -> None:
        super().__init__(driver_class=ServedDriver if options.served else StderrDriver)
        self.session = Session(paths, options)
        self.view = View(load_settings())
        self.dialog: Dialog | None = None
        self.filter_input: str | None = None
        self.frame: Frame | None = None
        self._palettes: dict[bool, Palette] = {}
        self._depth = depth
        # the text, when it expires, and whether it is dropped when the run ends
        self._message = ("", 0.0, False)
        self._drawn_at = 0.0

    def show(self) -> int:
        """Run until the user leaves; return 0 or the signal's number. Error: CrashError."""
        number = self.run()
        # Textual stores an error here and has no public way to read it
        if self._exception:
            raise report_crash(self._exception)
        return number or 0

    def compose(self) -> ComposeResult:
        yield Canvas()

    def on_mount(self) -> None:
        """Install signal handlers, which restore the terminal, and draw the first frame."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            # not possible in a thread, as in tests
            with suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, self.leave, int(number))
        # `afdctl train` blocks them while the dashboard opens
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        # after Ctrl-Z and fg the shell's output is on the screen
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))
        self.session.open()
        self.draw()
        if not self.is_headless:
            # drawing must not take CPU time from a training
            os.nice(NICENESS)
        self.set_timer(CATCH_UP_INTERVAL, self.tick)

    def tick(self) -> None:
        """Poll the session; redraw if something changed, and once a second for the clocks."""
        changed = not self.view.frozen and self.session.poll(self.view)
        now = time.monotonic()
        text, expires, while_running = self._message
        if text and (now > expires or (while_running and self.session.front.state.over)):
            self._message, changed = ("", 0.0, False), True
        if (changed or int(now) != int(self._drawn_at)) and now - self._drawn_at >= 0.8 * POLL_INTERVAL:
            self.draw()
        catching_up = self.session.front.share < 1
        self.set_timer(CATCH_UP_INTERVAL if catching_up else POLL_INTERVAL, self.tick)

    def draw(self) -> None:
        """Compose a frame and show it."""
        width, height = self.size
        snapshot = self.session.snapshot(self.view)
        message = self._message[0]
        if self.filter_input is not None:
            message = f"/{self.filter_input}▏ enter: filter, esc: none"
        self.frame = compose_frame(
            snapshot,
            width,
            height,
            self.palette,
            axes=self.frame.axes if self.frame else {},
            at_cursor=self.session.front.logged_at(self.view.cursor) if self.view.cursor is not None else None,
            dialog=self.dialog,
            message=message,
        )
        self.query_one(Canvas).show(self.frame.cells)
        self._drawn_at = time.monotonic()

    # what actions use

    @property
    def palette(self) -> Palette:
        """The colours for this terminal and theme."""
        dark = (self.view.settings.theme or terminal_theme()) == "dark"
        if dark not in self._palettes:
            self._palettes[dark] = Palette(dark=dark, depth=self._depth or color_depth(self.console.color_system))
        return self._palettes[dark]

    @property
    def chart_keys(self) -> list[str]:
        """The charts on screen, in order."""
        return [spec.key for spec, _ in self.frame.charts.values()] if self.frame else []

    @property
    def chart_columns(self) -> int:
        """The width of the widest chart's plot area in cells."""
        return max((chart.plot_width for _, chart in self.frame.charts.values()), default=50) if self.frame else 50

    def change_view(self, view: View) -> None:
        """Set the view and save changed settings; those of a browser are not saved."""
        if view.settings != self.view.settings and not self.session.options.served:
            save_settings(view.settings)
        self.view = view

    def show_message(self, text: str, *, while_running: bool = False) -> None:
        """Show a message in the footer for a few seconds; `while_running`: at most until the run ends."""
        self._message = (text, time.monotonic() + MESSAGE_SECONDS, while_running)

    def leave(self, number: int = 0) -> None:
        """Exit the dashboard. The training is another process and continues."""
        self.exit(number)

    def write_svg(self) -> None:
        """Write the screen as SVG."""
        self._write_files(lambda frame: [export.write_svg(frame, self.session.snapshot(self.view), Path.cwd())])

    def write_text(self) -> None:
        """Write the screen as text and its charts as CSV."""
        snapshot = self.session.snapshot(self.view)
        self._write_files(lambda frame: [*export.write_text(frame, snapshot, self.palette, Path.cwd())])

    def _write_files(self, write: Callable[[Frame], list[Path]]) -> None:
        if not self.frame:
            return
        try:
            self.show_message("wrote " + ", ".join(path.name for path in write(self.frame)))
        except OSError as error:
            self.show_message(f"not written: {(error.strerror or str(error)).lower()}")
        except DiskFullError as error:
            self.show_message(f"not written: {error}")

    # input

    async def on_event(self, event: events.Event) -> None:
        """Handle every key here: Textual's own keys would move the focus, and a click could take it away."""
        if isinstance(event, events.Key):
            keymap.press(self, event.key, event.character)
            self.draw()
        else:
            await super().on_event(limit_size(event) if isinstance(event, events.Resize) else event)

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        """Run a clicked hint of the footer; set the cursor in a chart; maximise it on a double click."""
        pane = self.frame.pane_at(event.x, event.y) if self.frame else None
        if self.dialog and self.dialog.kind == "help":
            self.dialog = None
        elif self.frame and pane == "footer":
            hints = keymap.hints(self.session.snapshot(self.view))
            if hint := hint_at(hints, self.frame.places[pane].width, event.x):
                keymap.run_binding(self, hint.key)
        elif self.frame and pane and pane in self.frame.charts:
            self.change_view(replace(self.view, focus=self.frame.charts[pane][0].key))
            if event.count == 2:
                self.change_view(replace(actions.maximise(self), cursor=None))
            elif (step := self._step_at(event.x, event.y)) is not None:
                self.change_view(actions.set_cursor(self, step))
        self.draw()

    def on_canvas_dragged(self, event: Canvas.Dragged) -> None:
        """Move the cursor."""
        if (step := self._step_at(event.x, event.y)) is not None:
            self.change_view(actions.set_cursor(self, step))
            self.draw()

    def on_canvas_scrolled(self, event: Canvas.Scrolled) -> None:
        """Zoom around the pointer."""
        if (step := self._step_at(event.x, event.y)) is not None:
            self.change_view(actions.zoom(self, WHEEL_UP if event.up else WHEEL_DOWN, step))
            self.draw()

    def _step_at(self, x: int, y: int) -> int | None:
        return self.frame.step_at(x, y, self.session.front.history, self.view.settings) if self.frame else None

    def on_resize(self, event: events.Resize) -> None:
        """Redraw for the new size at once."""
        if self.frame:
            self.call_after_refresh(self.draw)

    def _fatal_error(self) -> None:
        """Close after an error. Textual's version, which is private, prints its traceback on the shell's screen."""
        self._close_messages_no_wait()


def report_crash(error: Exception) -> CrashError:
    """Write the traceback to a new file; return the error that names it."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="afdctl-dashboard-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(traceback.format_exception(error))
        details = f"the details are in {path}"
    except OSError as failure:
        details = f"the details could not be written ({(failure.strerror or str(failure)).lower()})"
    return CrashError(f"the dashboard failed ({type(error).__name__}), and no training was affected; {details}")


def color_depth(color_system: str | None) -> Depth:
    """Return which colours the terminal can show."""
    if os.environ.get("NO_COLOR") or color_system is None:
        return "none"
    return "true" if color_system == "truecolor" else "256"


def terminal_theme() -> str:
    """Return "light" if COLORFGBG, which ends with the number of the background colour, says so."""
    background = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return "light" if background in ("7", "15") else "dark"
