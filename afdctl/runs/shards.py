"""HDF5 files written atomically, above all shards: files of large arrays that the journal refers to.

`shards/<stem>-<digest>.h5`; the digest in the name is verified when a shard is read.
"""

import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import file_digest, sha256
from io import FileIO
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from afdctl.errors import AfdctlError, CorruptError, file_errors
from afdctl.runs import files
from afdctl.runs.run import Run

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
# A file that changed less than this long ago may change again within the resolution of its time stamp.
SETTLED_NS: Final = 2_000_000_000
# Bytes before the HDF5 data, the fewest that HDF5 allows.
USER_BLOCK: Final = 512
# Compressed, with a checksum that every HDF5 reader verifies.
COMPRESSION: Final[dict[str, Any]] = {
    "shuffle": True,
    "compression": "gzip",
    "compression_opts": 1,
    "fletcher32": True,
}


def write(
    run: Run, stem: str, arrays: Mapping[str, np.ndarray[Any, Any]], attributes: Mapping[str, Any] | None = None
) -> str:
    """Store arrays under their paths (`0.3/norm`) with root `attributes`; return the file's name.

    Error: DiskFullError.
    """
    data = h5_bytes(arrays, attributes or {})
    # the same content gets the same name, so a repeated write is harmless
    name = f"{stem}-{sha256(data).hexdigest()[:16]}.h5"
    with file_errors(run.shards):
        run.shards.mkdir(exist_ok=True)
    files.write_bytes(run.shards / name, data)
    return name


def read(run: Run, name: str, without: Collection[str] = ()) -> Arrays:
    """Return the arrays of a shard by path, except those whose last part is in `without`.

    Error: CorruptError if it is missing or was changed.
    """
    if not intact(run, name):
        raise CorruptError(
            f"{run.shards / name}: damaged or missing; restore it from a copy, or run the sweep again without it"
        )
    arrays: Arrays = {}

    def add(path: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and path.rpartition("/")[2] not in without:
            arrays[path] = item[()]

    path = run.shards / name
    try:
        # no process ever writes to a shard, so HDF5's lock is not needed
        with h5py.File(path, "r", locking=False) as file:
            file.visititems(add)
    except (OSError, RuntimeError) as error:
        # the digest was verified a moment ago: the error is of the system, not of the file
        number = re.search(r"errno = (\d+)", str(error))
        raise AfdctlError(f"{path}: cannot be read ({os.strerror(int(number[1])) if number else 'by HDF5'})") from error
    return arrays


def intact(run: Run, name: str) -> bool:
    """Whether the digest of a shard is the one in its name."""
    path = run.shards / name
    if not path.is_file():
        return False
    status = path.stat()
    # a sweep asks often, and shards with images have gigabytes: the digest is cached by inode, size and time
    is_settled = time.time_ns() - status.st_mtime_ns > SETTLED_NS
    digest = _cached_digest if is_settled else _digest
    return name.endswith(f"-{digest(path, status.st_ino, status.st_size, status.st_mtime_ns)[:16]}.h5")


def _digest(path: Path, *version: int) -> str:
    with file_errors(path), path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


_cached_digest = lru_cache(4096)(_digest)


def remove(run: Run, name: str) -> None:
    """Delete a shard, if it exists."""
    (run.shards / name).unlink(missing_ok=True)


def h5_bytes(arrays: Mapping[str, np.ndarray[Any, Any]], attributes: Mapping[str, Any]) -> bytes:
    """Return the bytes of an HDF5 file, built in memory: HDF5 crashes the interpreter on a full disk."""
    with h5py.File("shard.h5", "w", driver="core", backing_store=False) as file:
        for path, array in arrays.items():
            add_array(file, path, array)
        file.attrs.update(attributes)
        file.flush()
        data: bytes = file.id.get_file_image()
    return data


def add_array(group: h5py.Group, path: str, array: Array) -> None:
    """Add a compressed data set."""
    # HDF5 compresses only data sets in chunks
    group.create_dataset(path, data=array, chunks=True, **COMPRESSION)


@contextmanager
def writing_hdf5(path: Path, user_block: bytes = b"") -> Iterator[h5py.File]:
    """Open a new HDF5 file that replaces `path` when the block ends. After DiskFullError the old file stays.

    The file begins with `user_block`, at most USER_BLOCK bytes, which can be read without HDF5.
    """
    with files.writing(path) as file:
        target = _ErrorKeepingFile(file)
        try:
            with h5py.File(target, "w", userblock_size=USER_BLOCK) as h5_file:
                yield h5_file
            target.seek(0)
            target.write(user_block.ljust(USER_BLOCK, b"\0"))
        finally:
            # the first error; HDF5 may have failed later, at what it read back
            if target.error:
                raise target.error


class _ErrorKeepingFile:
    """A file for HDF5 that keeps the first error of a write in `error`, and ignores further writes.

    HDF5 crashes the interpreter if a write fails, as on a full disk (6 of 6 tries).
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.seek, self.tell, self.read, self.readinto = file.seek, file.tell, file.read, file.readinto

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self.error is None:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int) -> int:
        with suppress(OSError):
            self._file.truncate(size)
        return size

    def flush(self) -> None:
        """Do nothing: there is no buffer."""
