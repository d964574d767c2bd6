"""The lock of a journal: which process writes it, and on which host.

`events.ndjson.lock` is held with flock, which the kernel releases when the process ends, also after SIGKILL. The file
holds pid, host and boot id of the writer, as a line with a checksum, so that no other process ever gets its signals.
"""

import fcntl
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from afdctl.errors import BusyError, file_errors
from afdctl.journal.rows import encode_row, parse_line

# A reader that asks for the writer holds the lock for an instant: a new writer retries for this long.
RETRY_SECONDS: Final = 0.2
MAX_PID: Final = 1 << 31


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

    def __str__(self) -> str:
        if not self.pid:
            return "an unknown process"
        return f"pid {self.pid}" if self.is_local else f"pid {self.pid} on host {self.host}"


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
    if writer.is_local:
        return ""
    if not writer.pid:
        return "written by an unknown process (the lock is damaged); stop it on its host"
    if writer.host == host_name():
        return f"written by pid {writer.pid} of another boot or machine named {writer.host}; stop it there"
    return f"written by pid {writer.pid} on host {writer.host}; stop it there"


def acquire(path: Path) -> int:
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
        os.pwrite(descriptor, encode_row({"event": "lock", **_identity()})[1], 0)
        stack.pop_all()
        return descriptor


def release(descriptor: int) -> None:
    """Release a lock taken by `acquire`, and empty the file."""
    # a reader that comes between the next writer's flock and its name must not find an old pid
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


def lock_path(path: Path) -> Path:
    """Return the path of a journal's lock file."""
    return path.with_name(path.name + ".lock")


def _identity() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": host_name(), "boot": boot_id()}


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
    remedy = f"`kill {writer.pid}` stops it" if writer.is_local else "stop it on its host"
    return BusyError(f"run {name} is being written by {writer} since {since}; `afdctl watch {name}` shows it, {remedy}")
