"""Keep a results.h5 that has rows which its journal has lost, under another name."""

from contextlib import suppress
from pathlib import Path
from typing import Final

# Name of such a results.h5; `size` is that of the journal it was made from.
KEPT: Final = "results-{size}.h5"


def keep_lost_rows(results: Path, size: int, end: int) -> None:
    """Rename results.h5 if it was made from `size` bytes of a journal that now ends at byte `end`, before that."""
    # another process may have renamed it meanwhile
    if size > end and journal_size_of(results) == size:
        results.replace(results.with_name(KEPT.format(size=size)))


def journal_size_of(results: Path) -> int:
    """Return the size of the journal that a results.h5 was made from; 0 if it is missing or damaged."""
    if not results.exists():
        return 0

    import h5py  # slower to import than everything else that `runs ls` needs

    with suppress(OSError, KeyError), h5py.File(results) as file:
        return int(file.attrs["log_offset"])
    return 0
