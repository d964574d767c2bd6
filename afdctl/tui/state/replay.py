"""A finished run once more, at a speed: rows come by a clock of their own."""

import time
from pathlib import Path

from afdctl.journal import JournalReplaced, Line
from afdctl.tui.state.follower import RunFollower, why_gone
from afdctl.tui.state.history import History
from afdctl.tui.state.status import State, state

LONGEST_PAUSE = 10.0
"""Seconds of the run that a replay waits at most between two rows: nobody wants to see a night again."""


MOST_SECONDS = 1e12
"""Times beyond these are none, and cannot be subtracted from each other."""


class Replay(RunFollower):
    """A run whose rows are released as time passes, `speed` times as fast as they were written."""

    def __init__(self, path: Path, speed: float) -> None:
        super().__init__(path)
        self.speed = speed
        self.playing = True
        self._shown = 0.0
        self._of_row = 0.0
        self._last_t: float | None = None
        self._ready: list[Line] = []
        self._moment = time.monotonic()

    @property
    def state(self) -> State:
        return state(self.history, self.writer is not None, gone=self.gone, replayed=not self.done)

    @property
    def done(self) -> bool:
        """Whether the last row is shown."""
        return self._reader.caught_up and not self._ready

    @property
    def share(self) -> float:
        return 1.0

    def open(self) -> None:
        """Begin at the beginning."""
        self._moment = time.monotonic()
        self.poll(0.0)

    def poll(self, seconds: float) -> bool:
        """Show what is due by now."""
        now = time.monotonic()
        if self.playing:
            self._shown += (now - self._moment) * self.speed
        self._moment = now
        self.refresh_writer()
        return self._release(self._shown)

    def to_epoch(self, step: int) -> None:
        """Go to the end of the next epoch, or back to the one before."""
        target = max(0, len(self.history.epochs) + step)
        if step < 0:
            self._restart()
        while len(self.history.epochs) < target and self._release(self._of_row + LONGEST_PAUSE, to_epoch=True):
            self._shown = self._of_row

    def _restart(self) -> None:
        self._reader = self._new_reader()
        self.history = self._whole = History()
        self._shown = self._of_row = 0.0
        self._last_t = None
        self._ready = []

    def _release(self, until: float, *, to_epoch: bool = False) -> bool:
        """Show the rows up to a time of the run, or (`to_epoch`) only up to the first end of an epoch."""
        due: list[Line] = []
        while self._of_row <= until and self._fill():
            t = self._ready[0][1].get("t")
            if isinstance(t, int | float) and abs(t) < MOST_SECONDS:
                pause = min(LONGEST_PAUSE, max(0.0, t - self._last_t)) if self._last_t is not None else 0.0
                if self._of_row + pause > until:
                    break
                self._of_row, self._last_t = self._of_row + pause, float(t)
            due.append(self._ready.pop(0))
            if to_epoch and due[-1][1]["event"] == "epoch":
                break
        self.history.extend(due)
        return bool(due)

    def _fill(self) -> bool:
        """Whether there is a row to show."""
        if not self._ready:
            try:
                self._ready = self._reader.read(1 << 16)
            except OSError as error:
                self.gone = why_gone(self.path, error)
            except JournalReplaced:
                self._restart()
        return bool(self._ready)
