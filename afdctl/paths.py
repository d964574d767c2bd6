"""Paths as users write them, and files of theirs: read whole, without waiting for a pipe or filling the memory."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

from afdctl.errors import RecipeError
from afdctl.formatting import one_line

NAME_BYTES: Final = 255
PATH_BYTES: Final = 4095
"""The longest name and path that Linux and macOS have."""
SHOWN: Final = 80
KINDS: Final = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a pipe (FIFO)",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def path(text: str | Path) -> Path:
    """Read a path that a user wrote, `~` expanded; RecipeError where no file can have it."""
    if reason := fault(str(text)):
        raise RecipeError(f"'{shortened(str(text))}': {reason}")
    # a shell leaves the ~ of --out=~/x alone
    return Path(os.path.expanduser(text))


def fault(text: str) -> str | None:
    """Say why no file can have this path; None where one can."""
    if "\0" in text:
        return "no path has a NUL character"
    longest = max(len(os.fsencode(part)) for part in text.split("/"))
    if longest > NAME_BYTES:
        return f"a name in this path has {longest:,} bytes, and no file's has more than {NAME_BYTES}"
    if len(os.fsencode(text)) > PATH_BYTES:
        return f"no path is longer than {PATH_BYTES:,} bytes"
    return None


def read(file: Path, most: int) -> bytes:
    """Read a regular file of at most `most` bytes.

    OSError, whose `strerror` is the reason for people, for a folder, pipe, socket or device, for a larger file, and
    for one that is not there or may not be read.
    """
    # looked at first: opening a pipe that nobody writes never returns
    found = os.stat(file)
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "is something else")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", str(file))
    if found.st_size > most:
        reason = f"has {found.st_size:,} bytes, and no more than {most:,} are read"
        raise OSError(errno.EOVERFLOW, reason, str(file))
    with file.open("rb") as opened:
        return opened.read(found.st_size)


def shortened(text: str) -> str:
    """The text on one line, control characters escaped; of a long one its beginning and its length."""
    begin = one_line(text[:SHOWN])
    return begin if len(text) <= SHOWN else f"{begin}... ({len(text):,} characters)"
