"""Write a journal: append-only, one process at a time, which holds its lock.

`events.ndjson.lock` is held with flock, which the kernel releases when the process ends, also after SIGKILL. The file
holds pid, host and boot id of the writer, as a line with a checksum, so that no other process ever gets its signals.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from afdctl.errors import BusyError, DiskFullError, file_errors
from afdctl.journal.events import EVENTS
from afdctl.journal.reader import JournalReader
from afdctl.journal.rows import encode_row, parse_line

SYNC_SECONDS: Final = 2.0
# A reader that asks for the writer holds the lock for an instant: a new writer retries for this long.
RETRY_SECONDS: Final = 0.2
MAX_PID: Final = 1 << 31

_flush = getattr(os, "fdatasync", os.fsync)  # macOS has only fsync


class Journal:
    """The writer of a journal; it holds the lock from `open` to `close`.

    `offset` is the size in bytes of all lines; `on_line` receives the JSON of each line after it is written.
    """

    def __init__(self, path: Path, descriptor: int, offset: int, closing: ExitStack) -> None:
        self.path = path
        self.offset = offset
        self.on_line: Callable[[str], None] | None = None
        self._descriptor = descriptor
        self._closing = closing
        self._closed = False
        self._sync_due = time.monotonic() + SYNC_SECONDS

    @classmethod
    def open(cls, path: Path) -> Self:
        """Lock the journal and cut off a torn last line. Errors: BusyError, and those of `read_rows`."""
        with ExitStack() as stack:
            stack.callback(release_lock, acquire_lock(path))
            stack.enter_context(file_errors(path))
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, descriptor)
            reader = JournalReader(path, last_steps=True)
            reader.read_all()
            os.ftruncate(descriptor, reader.end)
            return cls(path, descriptor, reader.end, stack.pop_all())

    def clear(self) -> None:
        """Remove every row."""
        with file_errors(self.path):
            os.ftruncate(self._descriptor, 0)
        self.offset = 0

    def append(self, event: str, **fields: Any) -> None:
        """Write one row."""
        self.extend([{"event": event, **fields}])

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write all rows at once or, with DiskFullError, none. A row has an `event` and may have its own `t`."""
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


@dataclass(frozen=True)
class Writer:
    """The process that holds the lock: its pid, 0 if unknown, on a host since its `boot`; `since` is a Unix time."""

    pid: int
    host: str
    boot: str
    since: float

    @property
    def is_local(self) -> bool:
        """Whether the pid is one of this host since its last boot, so that a signal reaches the writer."""
        return self.pid > 0 and (self.host, self.boot) == (host_name(), boot_id())

    @property
    def remedy(self) -> str:
        """How to stop the process."""
        elsewhere = "stop it there" if self.pid else "stop it on its host"
        return f"`kill {self.pid}` stops it" if self.is_local else elsewhere

    def __str__(self) -> str:
        if not self.pid:
            return "an unknown process (the lock file does not name it)"
        if self.is_local:
            return f"pid {self.pid}"
        # No lock outlives a reboot of its machine. Another boot id under this host's name is that of another machine,
        # such as a clone that shares the file system, or of a sandboxed container, which may have its own boot id.
        same_name = self.host == host_name()
        place = f"of another machine or container named {self.host}" if same_name else f"on host {self.host}"
        return f"pid {self.pid} {place}"


def host_name() -> str:
    """Return the name of this host, or of this container."""
    return os.uname().nodename


def boot_id() -> str:
    """Return an id that changes when the host is booted; empty on systems without one."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def current_writer(path: Path) -> Writer | None:
    """Return the process that writes the journal `path`, or None."""
    with suppress(FileNotFoundError), lock_path(path).open("rb") as file:
        try:
            # shared: readers do not exclude each other, and a writer that starts now retries
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _parse_writer(file.read(4096), os.fstat(file.fileno()).st_mtime)
    return None


def check_not_busy(path: Path) -> None:
    """Raise BusyError if a process writes the journal `path`."""
    if writer := current_writer(path):
        raise _busy(path, writer)


def signal_writer(path: Path, signal_number: int) -> Writer | None:
    """Send a signal to the writer and return it, or None if no process writes the journal.

    Errors: BusyError for a writer on another host, which gets no signal, ProcessLookupError, PermissionError.
    """
    writer = current_writer(path)
    if writer is None:
        return None
    if reason := unreachable(writer):
        raise BusyError(reason)
    os.kill(writer.pid, signal_number)
    return writer


def unreachable(writer: Writer) -> str:
    """Say why a writer cannot get signals from here; empty if it can."""
    return "" if writer.is_local else f"written by {writer}; {writer.remedy}"


def acquire_lock(path: Path) -> int:
    """Take the lock of a journal and return its descriptor. Error: BusyError if another process holds it."""
    lock = lock_path(path)
    deadline = time.monotonic() + RETRY_SECONDS
    with ExitStack() as stack, file_errors(lock):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        stack.callback(os.close, descriptor)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _busy(path, current_writer(path)) from None
                time.sleep(0.01)
        os.ftruncate(descriptor, 0)
        row = {"event": "lock", "pid": os.getpid(), "host": host_name(), "boot": boot_id()}
        os.pwrite(descriptor, encode_row(row)[1], 0)
        stack.pop_all()
        return descriptor


def release_lock(descriptor: int) -> None:
    """Release a lock taken by `acquire_lock`, and empty the file."""
    # a reader that comes between the next writer's flock and its name must not find an old pid
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


def lock_path(path: Path) -> Path:
    """Return the path of a journal's lock file."""
    return path.with_name(path.name + ".lock")


def _parse_writer(line: bytes, since: float) -> Writer:
    row = parse_line(line) or {}
    pid, host, boot = row.get("pid"), row.get("host"), row.get("boot")
    # os.kill takes 0 and negative numbers for process groups
    if type(pid) is int and 0 < pid < MAX_PID and isinstance(host, str) and isinstance(boot, str):
        return Writer(pid=pid, host=host, boot=boot, since=since)
    return Writer(pid=0, host="", boot="", since=since)


def _busy(path: Path, writer: Writer | None) -> BusyError:
    name = path.resolve().parent.name
    # the writer may have ended a moment ago
    writer = writer or Writer(pid=0, host="", boot="", since=time.time())
    since = time.strftime("%H:%M", time.localtime(writer.since))
    remedy = f"`afdctl watch {name}` shows it, {writer.remedy}"
    return BusyError(f"run {name} is being written by {writer} since {since}; {remedy}")
