"""Write a journal: append-only, one process at a time, which holds its lock."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self

from afdctl.errors import DiskFullError, file_errors
from afdctl.journal.cache import JournalCache
from afdctl.journal.events import EVENTS
from afdctl.journal.lock import Lock
from afdctl.journal.rows import encode_row

SYNC_SECONDS: Final = 2.0

_flush = getattr(os, "fdatasync", os.fsync)  # macOS has only fsync


class Journal:
    """The writer of a journal; it holds the lock from `open` to `close`.

    `offset` is the size in bytes of all lines; `on_line` receives the JSON of each line after it is written.
    """

    def __init__(self, path: Path, descriptor: int, offset: int, lock: Lock, closing: ExitStack) -> None:
        self.path = path
        self.offset = offset
        self.on_line: Callable[[str], None] | None = None
        self._descriptor, self._lock = descriptor, lock
        self._closing = closing
        self._closed = False
        self._sync_due = time.monotonic() + SYNC_SECONDS

    @classmethod
    def open(cls, path: Path) -> Self:
        """Lock the journal and cut off a torn last line. Errors: BusyError, and those of `read_rows`."""
        with ExitStack() as stack:
            lock = stack.enter_context(Lock.acquire(path))
            stack.enter_context(file_errors(path))
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, descriptor)
            cache = JournalCache.of(path)
            cache.refresh()
            if cache.end < os.fstat(descriptor).st_size:
                os.ftruncate(descriptor, cache.end)
            return cls(path, descriptor=descriptor, offset=cache.end, lock=lock, closing=stack.pop_all())

    def clear(self) -> None:
        """Remove every row."""
        with file_errors(self.path):
            os.ftruncate(self._descriptor, 0)
        self.offset = 0

    def append(self, event: str, **fields: Any) -> None:
        """Write one row."""
        self.extend([{"event": event, **fields}])

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write all rows at once or, with DiskFullError, none. A row has an `event` and may have its own `t`.

        Error: BusyError if another process has taken the lock, which it can after this one was suspended.
        """
        self._lock.check()
        now = round(time.time(), 3)
        lines = [encode_row({"event": _listed_event(row), "t": now, **row}) for row in rows]
        self._write(b"".join(line for _, line in lines))
        if time.monotonic() >= self._sync_due:
            self.sync()
        if self.on_line:
            for text, _ in lines:
                self.on_line(text)

    def _write(self, data: bytes) -> None:
        end = self.offset
        try:
            with file_errors(self.path):
                # one write may be short on a full disk: with this loop and the cut below, no acknowledged row was lost
                # at 200 random limits of the file size
                while rest := data[end - self.offset :]:
                    end += os.pwrite(self._descriptor, rest, end)
            self.offset = end
        except BaseException:
            # a torn line would damage the next one; if it cannot be removed here, the next writer cuts it off
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.offset)
            raise

    def sync(self) -> None:
        """Flush all rows to the disk, so that they survive a power cut. `extend` does so every two seconds."""
        with file_errors(self.path):
            _flush(self._descriptor)
        self._sync_due = time.monotonic() + SYNC_SECONDS

    def close(self) -> None:
        """Sync and release the lock; a second call does nothing."""
        if not self._closed:
            self._closed = True
            with self._closing:
                self.sync()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            self.close()
        except (OSError, DiskFullError):
            # an earlier error is the cause that the user must see
            if error is None:
                raise


def _listed_event(row: Mapping[str, Any]) -> str:
    event = str(row["event"])
    if event not in EVENTS or "crc" in row:
        raise ValueError(f"a row of event {event!r} with fields {list(row)} is not listed in journal/events.py")
    return event
