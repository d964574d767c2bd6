"""Where data sets lie on this machine, and how a file gets there: whole, or not at all."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from afdctl import files
from afdctl.errors import NO_SPACE, DataMissingError, DiskFullError


def cache_dir() -> Path:
    """The user's own folder for data sets."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "afdctl" / "data"


def search_path(option: Path | None = None, *, named: Path | None = None, own: Path | None = None) -> tuple[Path, ...]:
    """The folders to look into, the best first; the cache comes last, where downloads for a read-only folder go.

    `option` is --data-dir, `named` the recipe's `data.path`, `own` where a run's data were. A run looks into its own
    folder, then into the others, as its digest tells other images; a new training looks into one place only.
    """
    usual = Path(os.environ.get("AFDCTL_DATA") or cache_dir())
    if option is not None:
        first = [option]
    elif own is not None:
        first = [*(folder for folder in (own, named) if folder and os.path.isdir(folder)), usual]
    else:
        first = [named or usual]
    return tuple(dict.fromkeys(files.path(folder) for folder in (*first, cache_dir())))


@contextmanager
def staging(roots: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """The first root that can be written, and a temporary folder in it: what is finished needs only a rename."""
    for root in roots:
        with suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            folder = TemporaryDirectory(prefix=".fetch-", dir=root)
            break
    else:
        raise DataMissingError(f"cannot write to {' or '.join(map(str, roots))}: name another folder with --data-dir")
    try:
        with folder as name:
            yield root, Path(name)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise DiskFullError(f"disk full while writing to {root}: free some space") from error
        raise


def move(source: Path, target: Path) -> None:
    """Put a finished file or folder in place; where another process was faster, its copy stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(source, target)
    except OSError:
        if not target.is_dir():
            raise
