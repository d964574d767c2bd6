"""The claim of a journal's lock: one process at a time reads the lock and writes its name, on any file system."""

import errno
import os
import secrets
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
# The tokens of the claims that this process has: its pid alone may be that of a process which has ended.
_own: set[str] = set()


@contextmanager
def sole_claimant(journal: Path, deadline: float, busy: Callable[[], BusyError]) -> Iterator[None]:
    """Let one caller at a time into the block; raise the error `busy` where another one is in it until `deadline`.

    A symbolic link is made at once with its content, and only if there is none.
    """
    path = journal.with_name(journal.name + ".claim")
    while (claim := _attempt(path)) is None:
        if time.monotonic() > deadline:
            raise busy()
        time.sleep(0.01)
    try:
        if claim:
            _remove_leftovers(path)
        yield
    finally:
        if claim:
            _release(path, claim)


def _attempt(path: Path) -> str | None:
    """Make a claim and return its content, empty on a file system without symbolic links.

    Where there is a claim, return None, and remove it if it was abandoned.
    """
    token = secrets.token_hex(8)
    claim = f"{token} {os.getpid()} {boot_id()} {host_name()}"
    _own.add(token)
    try:
        path.symlink_to(claim)
    except OSError as error:
        _own.discard(token)
        # file systems without links are local, and have flock
        if error.errno in UNSUPPORTED:
            return ""
        if not isinstance(error, FileExistsError):
            raise
    else:
        return claim
    if abandoned := _abandoned(path):
        _remove(path, abandoned)
    return None


def _abandoned(path: Path) -> str | None:
    """Return the content of a claim whose process has ended, None for any other."""
    with suppress(OSError, ValueError):
        claim = os.readlink(path)
        token, pid, place = claim.split(" ", 2)
        if place == f"{boot_id()} {host_name()}":
            exists = token in _own if int(pid) == os.getpid() else process_exists(int(pid))
        else:
            exists = abs(time.time() - path.lstat().st_mtime) < STALE_SECONDS
        return None if exists else claim
    return None


def _remove(path: Path, abandoned: str) -> None:
    """Remove an abandoned claim, but not the next one: the process that does it has a claim to remove this very one."""
    removal = path.with_name(f"{path.name}.{abandoned.partition(' ')[0]}")
    if own := _attempt(removal):
        try:
            _release(path, abandoned)
        finally:
            _release(removal, own)


def _remove_leftovers(path: Path) -> None:
    """Remove claims to remove earlier claims of this path, which processes that were killed meanwhile have left."""
    for removal in path.parent.glob(f"{path.name}.*"):
        if abandoned := _abandoned(removal):
            # they do no harm, and may be another user's
            with suppress(OSError):
                _release(removal, abandoned)


def _release(path: Path, claim: str) -> None:
    """Remove a claim that no other process of this host may remove now, if it is still there.

    A process of another host may remove it once it is old, and one that comes next make its own between the two calls.
    """
    with suppress(FileNotFoundError):
        if os.readlink(path) == claim:
            path.unlink()
    _own.discard(claim.partition(" ")[0])
