"""The claim of a journal's lock: one process at a time reads the lock and writes its name, on any file system."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from afdctl.errors import BusyError
from afdctl.journal.writing_process import boot_id, host_name, process_exists

# What is older than this, by the clock of the process that asks, is a dead process's.
STALE_SECONDS: Final = 30.0
# What flock and symlink raise on file systems that do not have them.
UNSUPPORTED: Final = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def sole_claimant(journal: Path, deadline: float, busy: Callable[[], BusyError]) -> Iterator[None]:
    """Let one process at a time into the block; raise the error `busy` where another one is in it until `deadline`.

    A symbolic link is made at once with its content, and only if there is none.
    """
    path, me = journal.with_name(journal.name + ".claim"), f"{os.getpid()} {boot_id()} {host_name()}"
    while True:
        try:
            path.symlink_to(me)
            break
        except FileExistsError:
            if abandoned := _abandoned(path):
                _remove(path, abandoned)
            elif time.monotonic() > deadline:
                raise busy() from None
            else:
                time.sleep(0.01)
        except OSError as error:
            # such file systems are local, and have flock
            if error.errno not in UNSUPPORTED:
                raise
            yield
            return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _abandoned(path: Path) -> str | None:
    """Return the content of a claim whose process has ended, None for any other."""
    with suppress(OSError, ValueError):
        claim = os.readlink(path)
        pid, boot, host = claim.split(" ", 2)
        if (boot, host) == (boot_id(), host_name()):
            # containers reuse pids: this process is not in the block
            return claim if int(pid) == os.getpid() or not process_exists(int(pid)) else None
        return claim if abs(time.time() - path.lstat().st_mtime) > STALE_SECONDS else None
    return None


def _remove(path: Path, abandoned: str) -> None:
    """Remove an abandoned claim, but not that of a process which has removed it first and made its own."""
    taken = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        path.rename(taken)
        if os.readlink(taken) == abandoned:
            taken.unlink()
        else:
            taken.rename(path)
