"""The rows of a journal without most steps, read once in a process."""

import os
import time
from pathlib import Path
from typing import Final

from afdctl.journal.reader import CHUNK, LAST_STEPS, JournalReader, JournalReplaced, strict_errors
from afdctl.journal.rows import Line, Row

# Journals that a process remembers.
MAX_CACHES: Final = 32
# A file that changes twice within this time may keep its time of change: some file systems count seconds.
CLOCK_SECONDS: Final = 2.0

_caches: dict[tuple[str, str], "JournalCache"] = {}


class JournalCache:
    """The rows of a journal without most steps (LAST_STEPS); reads only what was appended since the last call.

    A file that was replaced, shortened or rewritten is read again from its beginning. Callers share the rows, so they
    do not change them. Errors: CorruptError, NotFoundError for no journal or one of another schema.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._restart()

    @classmethod
    def of(cls, path: Path) -> "JournalCache":
        """Return the process's cache of a journal."""
        # messages name the file as the caller does, and a relative path ends with its working directory
        key = os.path.abspath(path), str(path)
        cache = _caches[key] = _caches.pop(key) if key in _caches else cls(path)
        if len(_caches) > MAX_CACHES:
            del _caches[next(iter(_caches))]
        return cache

    @property
    def end(self) -> int:
        """The end in bytes of the last intact line."""
        return self._reader.end

    @property
    def size(self) -> int:
        """The size in bytes of the file when it was read."""
        return self._reader.size

    @property
    def rows(self) -> list[Row]:
        return [row for _, row in self.lines]

    def of_event(self, *events: str) -> list[Row]:
        """Return all present rows of some events; none without a journal."""
        return [row for _, row in self.refresh() if row["event"] in events] if self.path.exists() else []

    def refresh(self) -> list[Line]:
        """Read what was appended, and return all lines."""
        try:
            with strict_errors(self.path):
                self._refresh()
        except BaseException:
            self._restart()
            raise
        return self.lines

    def _restart(self) -> None:
        self.lines: list[Line] = []
        self._reader = JournalReader(self.path, step_gap=LAST_STEPS)
        self._file = self._state = (-1, -1)
        self._is_certain = False

    def _refresh(self) -> None:
        status = self.path.stat()
        file, state = (status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns)
        if self._is_certain and (file, state) == (self._file, self._state):
            return
        # a journal only grows; any other change is a new one
        if file != self._file or state[0] <= self._state[0]:
            self._restart()
        # a short journal is sooner read again than compared
        is_certain = status.st_size > CHUNK or time.time() - status.st_mtime > CLOCK_SECONDS
        try:
            self.lines += self._reader.read_all()
        except JournalReplaced:
            self._restart()
            self.lines += self._reader.read_all()
        self._file, self._state, self._is_certain = file, state, is_certain
