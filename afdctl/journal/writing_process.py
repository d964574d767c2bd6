"""Processes by pid, host and boot, such as the one that writes a journal."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from afdctl.journal.rows import parse_line

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

    @property
    def shares_kernel(self) -> bool:
        """Whether the writer runs on this host since its last boot, in this container or another one."""
        kernel = _kernel_id()
        return kernel != "" and self.boot.startswith(kernel)

    @property
    def elsewhere(self) -> str:
        """The host of a writer on another one; empty for one on this host, or if it is unknown."""
        return "" if self.is_local else self.host

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
    """Return an id that changes when the host is booted, and in each namespace of pids; empty on systems without one.

    A container may share the host's name and boot, but not its pids.
    """
    boot = _kernel_id()
    with suppress(OSError):
        return boot and f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    return boot


def _kernel_id() -> str:
    """Return the part of the boot id that all containers of one kernel share."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def parse_writer(line: bytes, since: float) -> Writer:
    """Parse the line of a lock, written at `since` where it has no time itself; pid 0 if it is damaged."""
    row = parse_line(line) or {}
    pid, host, boot, since = row.get("pid"), row.get("host"), row.get("boot"), row.get("since", since)
    # os.kill takes 0 and negative numbers for process groups
    if type(pid) is int and 0 < pid < MAX_PID and isinstance(host, str) and isinstance(boot, str):
        return Writer(pid=pid, host=host, boot=boot, since=float(since))
    return Writer(pid=0, host="", boot="", since=float(since))


def process_exists(pid: int) -> bool:
    """Whether this host has a process of this number that has not ended; one that its parent has not seen end has."""
    with suppress(OSError):
        # only Linux has the file; the state follows the name, which may hold anything
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] not in ("Z", "X")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
