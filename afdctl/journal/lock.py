"""The lock of a journal: one writer at a time, named by pid and host, also where flock does nothing.

`events.ndjson.lock` is held with flock, which the kernel releases when the process ends, also after SIGKILL. On some
shared file systems flock does nothing, or excludes processes of the same host only. So the file also names its writer,
in a line with a checksum, and the writer renews the file's time of change every few seconds: a name from another host
counts while that time moves. No process of another host ever gets a signal.
"""

import fcntl
import os
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Self

from afdctl.errors import BusyError, file_errors
from afdctl.journal.claim import STALE_SECONDS, UNSUPPORTED, sole_claimant
from afdctl.journal.rows import encode_row
from afdctl.journal.writing_process import Writer, boot_id, host_name, parse_writer, process_exists

# A reader that asks for the writer holds the lock for an instant: a new writer retries for this long.
RETRY_SECONDS: Final = 0.2
BEAT_SECONDS: Final = 5.0
# The locks of this process: on a file system without flock its own pid proves nothing.
_held: set[Path] = set()


class Lock:
    """The lock of a journal, held and renewed by a thread from `acquire` to the end of its `with` block."""

    def __init__(self, path: Path, descriptor: int, line: bytes) -> None:
        self.path, self.line = path, line
        self._descriptor = descriptor
        self._next_writer: Writer | None = None
        self._beaten = time.monotonic()
        self._ended = threading.Event()

    @classmethod
    def acquire(cls, journal: Path) -> Self:
        """Take the lock. Error: BusyError if another process holds it, here or on another host."""
        path = lock_path(journal)
        deadline = time.monotonic() + RETRY_SECONDS
        with ExitStack() as stack, file_errors(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, descriptor)
            while not _flock(descriptor, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise busy(journal, current_writer(journal))
                time.sleep(0.01)
            row = {"event": "lock", "pid": os.getpid(), "host": host_name(), "boot": boot_id(), "since": time.time()}
            line = encode_row(row)[1]
            with sole_claimant(journal, deadline, lambda: busy(journal, current_writer(journal))):
                writer = _named_writer(descriptor)
                if (
                    writer
                    and not _flock_excludes(path, writer)
                    and (_seems_alive(path, writer) or _beats(path, writer))
                ):
                    raise busy(journal, writer)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, line, 0)
            stack.pop_all()
            return cls(path, descriptor, line)

    def check(self) -> None:
        """Raise BusyError if another process has taken the lock, as it can while this one is suspended."""
        if time.monotonic() - self._beaten > 2 * BEAT_SECONDS:
            self.beat()
        if self._next_writer:
            raise busy(self.path.with_suffix(""), self._next_writer)

    def beat(self) -> None:
        """Renew the lock, unless it names another process."""
        with suppress(OSError):
            # opened again: on NFS only that shows what another host has written
            line = self.path.read_bytes()
            if line != self.line and (writer := parse_writer(line, time.time())).pid:
                self._next_writer = writer
            else:
                os.utime(self.path)
        self._beaten = time.monotonic()

    def __enter__(self) -> Self:
        _held.add(self.path.absolute())
        threading.Thread(target=self._keep_beating, name="afdctl lock", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        _held.discard(self.path.absolute())
        self.beat()
        # a reader that comes between the next writer's flock and its name must not find an old pid
        if not self._next_writer:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT_SECONDS) and not self._next_writer:
            self.beat()


def current_writer(path: Path) -> Writer | None:
    """Return the process that writes the journal `path`, or None."""
    lock = lock_path(path)
    with suppress(FileNotFoundError), lock.open("rb") as file:
        # shared: readers do not exclude each other, and a writer that starts now retries
        is_free = _flock(file.fileno(), fcntl.LOCK_SH)
        writer = _named_writer(file.fileno())
        if not is_free:
            return writer or parse_writer(b"", os.fstat(file.fileno()).st_mtime)
        return writer if writer and _seems_alive(lock, writer) and not _flock_excludes(lock, writer) else None
    return None


def check_not_busy(path: Path) -> None:
    """Raise BusyError if a process writes the journal `path`."""
    if writer := current_writer(path):
        raise busy(path, writer)


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


def busy(path: Path, writer: Writer | None) -> BusyError:
    """Return the error of a journal that `writer` writes."""
    # the writer may have ended a moment ago
    writer = writer or parse_writer(b"", time.time())
    since = time.strftime("%H:%M", time.localtime(writer.since))
    remedy = f"`afdctl watch {path.parent}` shows it, {writer.remedy}"
    return BusyError(f"run {path.resolve().parent.name} is being written by {writer} since {since}; {remedy}")


def lock_path(path: Path) -> Path:
    """Return the path of a journal's lock file."""
    return path.with_name(path.name + ".lock")


def _flock(descriptor: int, mode: int) -> bool:
    """Return whether no process that flock knows of excludes this one."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    return True


def _named_writer(descriptor: int) -> Writer | None:
    """Return the writer that a lock names; None for an empty one."""
    line = os.pread(descriptor, 4096, 0)
    return parse_writer(line, os.fstat(descriptor).st_mtime) if line else None


def _flock_excludes(path: Path, writer: Writer) -> bool:
    """Whether flock, which this process has just got, excludes the named writer, so that it has ended.

    It does for all containers of one kernel, if it excludes a second description of the file. It may not do so, or only
    on the same host, on shared file systems.
    """
    if not writer.shares_kernel:
        return False
    try:
        # NFS grants an exclusive lock only where the file is open for writing
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False


def _seems_alive(path: Path, writer: Writer) -> bool:
    """Whether the writer that a lock names has renewed it lately and, on this host, exists."""
    if not writer.pid or abs(time.time() - path.stat().st_mtime) > STALE_SECONDS:
        return False
    return not writer.is_local or _exists(path, writer.pid)


def _beats(path: Path, writer: Writer) -> bool:
    """Watch the lock of a writer on another host, whose clock may differ from ours, for two heartbeats."""
    if not writer.pid or writer.is_local:
        return False
    end, first = time.monotonic() + 2.2 * BEAT_SECONDS, _heartbeat(path)
    while time.monotonic() < end:
        time.sleep(BEAT_SECONDS / 10)
        if _heartbeat(path) != first:
            return True
    return False


def _heartbeat(path: Path) -> int:
    # opened, as NFS may answer `stat` from a cache
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns


def _exists(path: Path, pid: int) -> bool:
    # containers reuse pids: outside this process's locks it was a dead process's
    return path.absolute() in _held if pid == os.getpid() else process_exists(pid)
