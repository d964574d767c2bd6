"""Paths that users write, and safe reading of users' files."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

from afdctl.errors import RecipeError
from afdctl.formatting import shorten

# the longest name and path on Linux and macOS
NAME_BYTES: Final = 255
PATH_BYTES: Final = 4095
FILE_KINDS: Final = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a pipe (FIFO)",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def path(text: str | Path) -> Path:
    """Parse a user's path and expand `~`; RecipeError for a path that no file can have."""
    if reason := invalid_reason(str(text)):
        raise RecipeError(f"'{shorten(str(text))}': {reason}")
    # a shell does not expand the ~ of --out=~/x
    return Path(os.path.expanduser(text))


def invalid_reason(text: str) -> str | None:
    """Explain why no file can have this path; None for a valid path."""
    if "\0" in text:
        return "a path cannot contain a NUL character"
    longest = max(len(os.fsencode(part)) for part in text.split("/"))
    if longest > NAME_BYTES:
        return f"a name in this path has {longest:,} bytes; the limit is {NAME_BYTES}"
    if len(os.fsencode(text)) > PATH_BYTES:
        return f"a path cannot be longer than {PATH_BYTES:,} bytes"
    return None


def read(file: Path, max_bytes: int) -> bytes:
    """Read a regular file of at most `max_bytes` bytes.

    OSError with a readable `strerror` for a folder, pipe, socket or device, for a larger file, and for a missing or
    unreadable file.
    """
    # stat first: opening a pipe without a writer blocks forever
    status = os.stat(file)
    if not stat.S_ISREG(status.st_mode):
        kind = FILE_KINDS.get(stat.S_IFMT(status.st_mode), "is of an unknown kind")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", str(file))
    if status.st_size > max_bytes:
        reason = f"has {status.st_size:,} bytes; the limit is {max_bytes:,}"
        raise OSError(errno.EOVERFLOW, reason, str(file))
    with file.open("rb") as stream:
        return stream.read(status.st_size)
