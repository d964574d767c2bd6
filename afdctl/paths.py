"""Paths and names that users write, and safe reading of users' files."""

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from afdctl.errors import RecipeError
from afdctl.formatting import did_you_mean, one_line, shorten

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


def packaged_files(folder: Path) -> dict[str, Path]:
    """Map the names of the TOML files in a folder to their paths."""
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def find_packaged(path_or_name: str, packaged: Mapping[str, Path], kind: str) -> Path:
    """Find the "recipe" or "suite" that a user means: `my.toml`, `mnist_wgan` or `recipes/mnist_wgan.toml`."""
    file = path(path_or_name)
    if file.is_file():
        return file
    if file.parent in (Path(), Path(f"{kind}s")) and file.suffix in ("", ".toml") and file.stem in packaged:
        return packaged[file.stem]
    if file.exists():
        # `read` refuses a folder, a pipe or a device, and names its kind
        return file
    hint = did_you_mean(file.stem, packaged, f"`afdctl {kind}s ls` lists the packaged ones")
    raise RecipeError(f"{one_line(str(file))}: no such {kind} ({hint})")


def display_path(file: Path) -> Path:
    """Shorten a path inside the working directory to a relative one."""
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file


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
        # not more than was checked, as the file may grow meanwhile
        return stream.read(status.st_size)
