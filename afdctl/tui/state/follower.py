"""A run that is followed: its journal is read a little at a time, and its lock tells who writes it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from afdctl import journal
from afdctl.journal import Row
from afdctl.tui.state.follow import Follower, JournalReplaced, rows_at, sample
from afdctl.tui.state.history import History
from afdctl.tui.state.status import State, state

LARGE = 4 << 20
"""A journal of more bytes is first looked at here and there."""
SAMPLES = 800
CHUNK = 1 << 18
MOST_PID = 1 << 31


class RunFollower:
    """One run folder. `history` is what has been read; for a long journal first a sample of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "events.ndjson"
        self.history = History()
        self.pid: int | None = None
        self.gone = ""
        self._follower = Follower(self.journal)
        self._whole = self.history
        self._grown_at = time.monotonic()
        self._quiet_before = 0.0

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def damaged(self) -> int:
        return self._follower.damaged

    @property
    def share(self) -> float:
        """How much of the journal has been read."""
        return 1.0 if self._follower.caught_up else self._follower.offset / max(1, self._follower.size)

    @property
    def state(self) -> State:
        quiet = time.monotonic() - self._grown_at + self._quiet_before
        return state(self.history, self.pid, gone=self.gone, quiet=quiet if self.pid else 0.0)

    def open(self) -> None:
        """Read enough for a first picture."""
        try:
            information = self.journal.stat()
        except OSError:
            return
        # the file's own clock only counts where it is behind ours
        self._quiet_before = max(0.0, time.time() - information.st_mtime)
        if information.st_size > LARGE:
            self.history = History()
            with suppress(OSError):
                self.history.extend(sample(self.journal, SAMPLES))
            self._follower.size = information.st_size
            self._follower.started_large()
            self.look()
        else:
            self.poll(1.0)

    def poll(self, seconds: float) -> bool:
        """Read on for at most so long; whether there was anything new."""
        new = False
        until = time.monotonic() + seconds
        while True:
            try:
                lines = self._follower.read(CHUNK)
            except OSError as error:
                self.gone = why_gone(self.path, error)
                break
            except JournalReplaced:
                self._follower, self._whole = Follower(self.journal), History()
                self.history = self._whole
                continue
            self.gone = ""
            if lines:
                self._whole.extend(lines)
                new = True
                self._grown_at, self._quiet_before = time.monotonic(), 0.0
            if self._follower.caught_up or time.monotonic() > until:
                break
        if self._follower.caught_up and self.history is not self._whole:
            self.history, new = self._whole, True
        self.look()
        return new

    def rows(self, seconds: float, wait: Callable[[float], None]) -> Iterator[Row]:
        """All rows, old and new, until nobody writes any more; `wait` is called while there is nothing new."""
        while True:
            self.look()
            writer = self.pid
            try:
                lines = self._follower.read()
            except (FileNotFoundError, JournalReplaced):
                return
            yield from (row for _, row in lines)
            if lines or not self._follower.caught_up:
                continue
            if writer is None:
                return
            wait(seconds)

    def look(self) -> None:
        """See who writes the journal."""
        try:
            pid = journal.writer_pid(self.journal)
        except (OSError, ValueError):
            pid = None
        # a number that is no process's must never get a signal: 0 and less are groups of them
        self.pid = pid if pid is None or 0 < pid < MOST_PID else 0

    def logged_at(self, step: int) -> dict[str, float]:
        """The figures of the row whose step is nearest, read from the journal itself; empty where there is none."""
        series = self.history.recent if self.history.recent.base < step else self.history.series
        place = series.nearest(step)
        if place is None:
            return {}
        until = series.offsets[place + 1 : series.length]
        until = until[until > series.offsets[place]]
        try:
            rows = rows_at(self.journal, int(series.offsets[place]), int(until[0]) if len(until) else 1 << 62)
        except OSError:
            return {}
        steps = [row for row in rows if row["event"] == "step" and isinstance(row.get("step"), int)]
        row = min(steps, key=lambda row: abs(row["step"] - step), default={})
        return {name: float(value) for name, value in row.items() if isinstance(value, int | float)}


def why_gone(path: Path, error: OSError) -> str:
    """A word for a journal that cannot be read; empty where it is only not there yet."""
    if not os.path.exists(path):
        return "vanished"
    return "" if isinstance(error, FileNotFoundError) else "unreadable"


def output(path: Path, lines: int = 200) -> list[str]:
    """The last lines of what the trainer printed."""
    try:
        with (path / "log.txt").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 200 * lines))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
