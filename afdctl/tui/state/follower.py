"""Follow a run: read its journal as it grows, see which process writes it, and name its state."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from afdctl.formatting import format_duration
from afdctl.journal import JournalReader, JournalReplaced, Line, Row, Writer, current_writer, rows_between, sample
from afdctl.runs.status import OTHER_VERSION
from afdctl.tui.state.history import History

# A larger journal is shown from a sample of its lines until it has been read.
MAX_BYTES_AT_OPEN: Final = 4 << 20
# Of a larger one, this many steps are read, and all in as many last bytes as above. All would take 12 s per million,
# and no chart has room for them.
MAX_BYTES_IN_FULL: Final = 16 << 20
KEPT_STEPS: Final = 8192
SAMPLED_LINES: Final = 800
CHUNK: Final = 1 << 18
BATCH_LINES: Final = 4096
# A trainer is quiet if it has written nothing for this long and for this many of its usual pauses.
QUIET_SECONDS: Final = 30.0
QUIET_PAUSES: Final = 5
# Mark and colour of each status; the others have ended badly.
STYLES: Final = {
    OTHER_VERSION: ("?", "warn"),
    "not started": ("◌", "bad"),
    "starting": ("◌", "warn"),
    "training": ("●", "good"),
    "testing": ("●", "good"),
    "sweeping": ("●", "good"),
    "analyzing": ("●", "good"),
    "finished": ("✔", "good"),
    "swept": ("✔", "good"),
    "stopped": ("■", "warn"),
    "sweep stopped": ("■", "warn"),
}


@dataclass(frozen=True)
class State:
    """A word, the mark before it, and the role of its colour. `over`: no process writes the journal."""

    word: str
    mark: str
    colour: str
    over: bool = False


def state(
    history: History, is_written: bool, *, host: str = "", gone: str = "", quiet: float = 0.0, replayed: bool = False
) -> State:
    """Return the state to show.

    `host` is that of a writer elsewhere; `gone` is why nothing can be read; nothing was written for `quiet` seconds;
    `replayed` is true for a replay.
    """
    if gone:
        return State(gone, "✖", "bad", over=True)
    if replayed and not history.other_schema:
        return State("replay", "▶", "d_hdh")
    word = OTHER_VERSION if history.other_schema else history.status.status(is_written=is_written)
    if word == "training" and quiet > max(QUIET_SECONDS, QUIET_PAUSES * history.rates.seconds_between_writes):
        # a trainer that hangs must not look like one that trains; tests and attacks write nothing for long
        return State(f"quiet {format_duration(quiet)}", "?", "warn")
    mark, colour = STYLES.get(word, ("✖", "bad"))
    if host and not history.other_schema:
        word = history.status.status(is_written=is_written, host=host)
    # the process that wrote the last row takes a moment to exit
    return State(word, mark, colour, over=not is_written or history.status.has_ended)


class RunFollower:
    """One run folder. `history` is what has been read; for a long journal first a sample of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "events.ndjson"
        self.history = History()
        self.writer: Writer | None = None
        self.gone = ""
        self._reader = self._new_reader()
        self._whole = self.history
        self._sampled = False
        self._grown_at = time.monotonic()
        self._quiet_before_open = 0.0

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def pid(self) -> int | None:
        """The pid of the process that writes the journal, 0 if unknown; None if no process does."""
        return self.writer.pid if self.writer else None

    @property
    def local_pid(self) -> int | None:
        """The pid of the writer if it is a process of this host, which can be measured and get signals."""
        return self.writer.pid if self.writer and self.writer.is_local else None

    @property
    def remote_host(self) -> str:
        """The host of a writer that runs elsewhere; else empty."""
        return self.writer.elsewhere if self.writer else ""

    @property
    def damaged(self) -> int:
        """How many damaged lines were left out."""
        return 0 if self.history.other_schema else self._reader.damaged

    @property
    def caught_up(self) -> bool:
        """Whether all of the journal has been read."""
        return self._reader.caught_up and not self._sampled

    @property
    def share(self) -> float:
        """The fraction of the journal that has been read."""
        return 1.0 if self.caught_up else self._reader.offset / max(1, self._reader.size)

    @property
    def state(self) -> State:
        quiet = time.monotonic() - self._grown_at + self._quiet_before_open
        return state(
            self.history,
            self.writer is not None,
            host=self.remote_host,
            gone=self.gone,
            quiet=quiet if self.writer else 0.0,
        )

    def open(self) -> None:
        """Read enough for a first picture."""
        try:
            status = self.journal.stat()
        except OSError:
            return
        # the file system's clock counts only if it is behind ours
        self._quiet_before_open = max(0.0, time.time() - status.st_mtime)
        if status.st_size > MAX_BYTES_AT_OPEN:
            self.history = History()
            with suppress(OSError):
                self.history.extend(sample(self.journal, SAMPLED_LINES))
            # the reader sets it with its first read, but the first frame shows the share already
            self._reader.size = status.st_size
            self._sampled = True
            self.refresh_writer()
        else:
            self.poll(1.0)

    def _step_gap(self) -> int:
        """Return how many bytes of steps the next read may leave out: of a long backlog it takes a few thousand."""
        size, rest = self._reader.size, self._reader.size - self._reader.offset
        return size // KEPT_STEPS if size > MAX_BYTES_IN_FULL and rest > MAX_BYTES_AT_OPEN else 0

    def poll(self, seconds: float) -> bool:
        """Read for at most `seconds`; return whether anything is new."""
        new = False
        until = time.monotonic() + seconds
        lines: list[Line] = []
        while True:
            self._reader.step_gap = self._step_gap()
            try:
                lines += self._reader.read(CHUNK)
            except OSError as error:
                self.gone = why_gone(self.path, error)
                break
            except JournalReplaced:
                self._reader, self._whole, lines = self._new_reader(), History(), []
                self.history = self._whole
                continue
            self.gone = ""
            if self._reader.caught_up or time.monotonic() > until:
                break
            # many at once, as each call has a cost, but not all of a journal
            if len(lines) > BATCH_LINES:
                self._whole.extend(lines)
                new, lines = True, []
        self._whole.extend(lines)
        if new or lines:
            new = True
            self._grown_at, self._quiet_before_open = time.monotonic(), 0.0
        if self._reader.caught_up:
            self._sampled = False
            if self.history is not self._whole:
                self.history, new = self._whole, True
        self.refresh_writer()
        return new

    def rows(self, seconds: float, wait: Callable[[float], None]) -> Iterator[Row]:
        """Yield all rows, old and new, until no process writes the journal; `wait` is called while nothing is new."""
        while True:
            # before the read: what a writer leaves that ends in between is still yielded
            self.refresh_writer()
            writer = self.writer
            try:
                lines = self._reader.read()
            except (FileNotFoundError, JournalReplaced):
                return
            yield from (row for _, row in lines)
            if lines or not self._reader.caught_up:
                continue
            if writer is None:
                return
            wait(seconds)

    def refresh_writer(self) -> None:
        """Look up which process writes the journal."""
        try:
            self.writer = current_writer(self.journal)
        except OSError:
            self.writer = None

    def logged_at(self, step: int) -> dict[str, float]:
        """Return the metrics of the row whose step is nearest, read from the journal; empty if there is none."""
        series = self.history.recent if self.history.recent.base < step else self.history.series
        place = series.nearest(step)
        if place is None:
            return {}
        begin = int(series.offsets[place])
        later = series.offsets[place + 1 : series.length]
        later = later[later > begin]
        try:
            rows = rows_between(self.journal, begin, int(later[0]) if len(later) else 1 << 62)
        except OSError:
            return {}
        steps = [row for row in rows if row["event"] == "step" and isinstance(row.get("step"), int)]
        row = min(steps, key=lambda row: abs(row["step"] - step), default={})
        return {name: float(value) for name, value in row.items() if isinstance(value, int | float)}

    def _new_reader(self) -> JournalReader:
        return JournalReader(self.journal, tolerant=True)


def why_gone(path: Path, error: OSError) -> str:
    """Return the status of a run whose journal cannot be read; empty if it only does not exist yet."""
    if not os.path.exists(path):
        return "deleted"
    return "" if isinstance(error, FileNotFoundError) else "unreadable"
