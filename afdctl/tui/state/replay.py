"""Replay of a run: its rows are released by a clock, at a chosen speed."""

import time
from pathlib import Path

from afdctl.journal import JournalReplaced, Line
from afdctl.tui.state.follower import RunFollower, State, state, why_gone
from afdctl.tui.state.history import History

# the longest pause between two rows, in seconds of the run; the night before a resume is skipped
MAX_PAUSE = 10.0
# larger times are invalid
MAX_SECONDS = 1e12


class Replay(RunFollower):
    """A run whose rows are released `speed` times as fast as they were written."""

    def __init__(self, path: Path, speed: float) -> None:
        super().__init__(path)
        self.speed = speed
        self.playing = True
        # seconds of the run: where the clock is, and where the last released row was
        self._clock = 0.0
        self._released = 0.0
        self._last_t: float | None = None
        self._pending: list[Line] = []
        self._polled_at = time.monotonic()

    @property
    def state(self) -> State:
        return state(self.history, self.writer is not None, gone=self.gone, replayed=not self.done)

    @property
    def done(self) -> bool:
        """Whether the last row has been released."""
        return self._reader.caught_up and not self._pending

    @property
    def share(self) -> float:
        return 1.0

    def open(self) -> None:
        """Start the clock and show the first row."""
        self._polled_at = time.monotonic()
        self.poll(0.0)

    def poll(self, seconds: float) -> bool:
        """Release the rows that are due."""
        now = time.monotonic()
        if self.playing:
            self._clock += (now - self._polled_at) * self.speed
        self._polled_at = now
        self.refresh_writer()
        return self._release(self._clock)

    def to_epoch(self, step: int) -> None:
        """Move forward or back by epochs, to the end of one."""
        target = max(0, len(self.history.epochs) + step)
        if step < 0:
            self._restart()
        while len(self.history.epochs) < target and self._release(self._released + MAX_PAUSE, to_epoch=True):
            self._clock = self._released

    def _restart(self) -> None:
        self._reader = self._new_reader()
        self.history = self._whole = History()
        self._clock = self._released = 0.0
        self._last_t = None
        self._pending = []

    def _release(self, until: float, *, to_epoch: bool = False) -> bool:
        """Release the rows up to a time of the run, or with `to_epoch` at most to the next end of an epoch."""
        due: list[Line] = []
        while self._released <= until and self._fill():
            t = self._pending[0][1].get("t")
            if isinstance(t, int | float) and abs(t) < MAX_SECONDS:
                pause = min(MAX_PAUSE, max(0.0, t - self._last_t)) if self._last_t is not None else 0.0
                if self._released + pause > until:
                    break
                self._released, self._last_t = self._released + pause, float(t)
            due.append(self._pending.pop(0))
            if to_epoch and due[-1][1]["event"] == "epoch":
                break
        self.history.extend(due)
        return bool(due)

    def _fill(self) -> bool:
        """Read more rows if none is pending; return whether there is one."""
        if not self._pending:
            try:
                self._pending = self._reader.read(1 << 16)
            except OSError as error:
                self.gone = why_gone(self.path, error)
            except JournalReplaced:
                self._restart()
        return bool(self._pending)
