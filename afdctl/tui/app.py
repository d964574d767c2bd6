"""The dashboard itself: a clock that reads and draws, and what each key does."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult

from afdctl.tui import crash, keymap, settings
from afdctl.tui.drawing.canvas import Canvas
from afdctl.tui.drawing.palette import Depth, Palette
from afdctl.tui.driver import ServedDriver, StderrDriver, bounded
from afdctl.tui.panes import chart_data
from afdctl.tui.panes.dialogs import Dialog
from afdctl.tui.screen import Frame, compose
from afdctl.tui.session import Options, Session
from afdctl.tui.view import View

TICK_SECONDS = 0.25
BEHIND_SECONDS = 0.01
MESSAGE_SECONDS = 4.0
NICE = 10
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Dashboard(App[int]):
    """Shows runs until its user leaves. It returns the number of the signal that ended it, else 0."""

    CSS = "Screen { overflow: hidden; }"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar = []

    def __init__(self, paths: list[Path], options: Options, *, depth: Depth | None = None) -> None:
        super().__init__(driver_class=ServedDriver if options.served else StderrDriver)
        self.session = Session(paths, options)
        kept = settings.load()
        self.view = View(kept)
        self.dialog: Dialog | None = None
        self.typing: str | None = None
        self.frame: Frame | None = None
        self.frames = 0
        self._palettes: dict[bool, Palette] = {}
        self._depth = depth
        self._message = ("", 0.0)
        self._drawn_at = 0.0

    def show(self) -> int:
        """Run until the user leaves; the number of the signal that ended it, else 0. Error: CrashError."""
        number = self.run()
        if self._exception:
            raise crash.reported(self._exception)
        return number or 0

    def compose(self) -> ComposeResult:
        yield Canvas()

    @property
    def canvas(self) -> Canvas:
        return self.query_one(Canvas)

    @property
    def palette(self) -> Palette:
        """The colours for this terminal, and the user's choice of dark or light."""
        dark = (self.view.kept.theme or terminal_ground()) == "dark"
        if dark not in self._palettes:
            self._palettes[dark] = Palette(dark, self._depth or depth_of(self.console.color_system))
        return self._palettes[dark]

    def on_mount(self) -> None:
        """Take over the signals, so that the terminal is given back whatever ends the dashboard."""
        loop = asyncio.get_running_loop()
        for number in ENDINGS:
            # a thread of a test has no signals
            with suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, self.leave, int(number))
        # one that came while the dashboard opened is held until now
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
        # the shell has written on the screen meanwhile
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))
        self.session.open()
        self.draw()
        if not self.is_headless:
            # from now on drawing must not take time from a training
            os.nice(NICE)
        self.set_timer(BEHIND_SECONDS, self.tick)

    def tick(self) -> None:
        """Read what is new, and draw if that changes the picture."""
        new = not self.view.frozen and self.session.poll(self.view)
        if self._message[0] and time.monotonic() > self._message[1]:
            self._message, new = ("", 0.0), True
        behind = self.session.front.share < 1
        if (
            new or int(time.monotonic()) != int(self._drawn_at)
        ) and time.monotonic() - self._drawn_at >= 0.8 * TICK_SECONDS:
            self.draw()
        self.set_timer(BEHIND_SECONDS if behind else TICK_SECONDS, self.tick)

    def draw(self) -> None:
        """Compose the picture and give it to the canvas."""
        width, height = self.size
        facts = self.session.facts(self.view)
        at_cursor = self.session.front.logged_at(self.view.cursor) if self.view.cursor is not None else None
        message = f"/{self.typing}▏ enter: filter, esc: none" if self.typing is not None else self._message[0]
        axes = self.frame.axes if self.frame else {}
        self.frame = compose(
            facts, width, height, self.palette, axes=axes, at_cursor=at_cursor, dialog=self.dialog, message=message
        )
        self.canvas.show(self.frame.cells)
        self.frames += 1
        self._drawn_at = time.monotonic()

    def say(self, text: str) -> None:
        """Show a message for a moment."""
        self._message = (text, time.monotonic() + MESSAGE_SECONDS)

    def leave(self, number: int = 0) -> None:
        """End the dashboard; the training is another process and goes on."""
        self.exit(number)

    async def on_event(self, event: events.Event) -> None:
        """Take every key, wherever the focus is: the library's own keys would move it, and a click can take it away."""
        if isinstance(event, events.Key):
            self.press(event.key, event.character)
        else:
            await super().on_event(bounded(event) if isinstance(event, events.Resize) else event)

    def press(self, key: str, character: str | None) -> None:
        """Do what a key asks for, and draw."""
        keymap.press(self, key, character)
        self.draw()

    def change(self, view: View) -> None:
        """Take another view; settings are remembered, unless they are a browser's."""
        if view.kept != self.view.kept and not self.session.options.served:
            settings.save(view.kept)
        self.view = view

    def at(self, x: int, y: int) -> str | None:
        """The pane under a cell."""
        places = self.frame.places if self.frame else {}
        return next((name for name, place in places.items() if place.holds(x, y)), None)

    def step_at(self, x: int, y: int) -> int | None:
        """The step under a cell of a chart."""
        name = self.at(x, y)
        if not self.frame or name is None or name not in self.frame.charts:
            return None
        chart, drawn = self.frame.charts[name]
        share = (x - self.frame.places[name].x - drawn.left + 0.5) / max(1, drawn.field)
        value = drawn.part.low + min(1.0, max(0.0, share)) * (drawn.part.high - drawn.part.low)
        return chart_data.step_of(self.session.front.history, value, self.view.kept, chart.per)

    def on_resize(self, event: events.Resize) -> None:
        """Draw for the new size at once."""
        if self.frame:
            self.call_after_refresh(self.draw)

    def _fatal_error(self) -> None:
        """End because of an error; the library would also print its traceback over the shell's screen."""
        self._close_messages_no_wait()

    def freeze(self) -> None:
        """Stop or go on with reading: what is on the screen stays as it is."""
        self.change(replace(self.view, frozen=not self.view.frozen))


def depth_of(color_system: str | None) -> Depth:
    """What the terminal can show."""
    if os.environ.get("NO_COLOR") or color_system is None:
        return "none"
    return "true" if color_system == "truecolor" else "256"


def terminal_ground() -> str:
    """`light` where the terminal says so: COLORFGBG ends with the number of the background."""
    ground = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return "light" if ground in ("7", "15") else "dark"
