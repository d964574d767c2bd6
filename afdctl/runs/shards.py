"""Shards: large arrays beside the journal, each an HDF5 file that is there completely or not at all.

`shards/<stem>-<digest>.h5`; the journal names the file, and the digest in its name is verified when it is read.
"""

import os
import re
import time
from collections.abc import Collection, Mapping
from functools import lru_cache
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from afdctl.errors import AfdctlError, CorruptError
from afdctl.journal import named
from afdctl.runs import files, hdf5
from afdctl.runs.run import Run

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
SETTLED_NS = 2_000_000_000


def write(
    run: Run, stem: str, arrays: Mapping[str, np.ndarray[Any, Any]], about: Mapping[str, Any] | None = None
) -> str:
    """Store arrays under their paths (`0.3/norm`), `about` as root attributes; returns the file's name.

    Error: DiskFullError.
    """
    image = h5_bytes(arrays, about or {})
    name = f"{stem}-{sha256(image).hexdigest()[:16]}.h5"
    with named(run.shards):
        run.shards.mkdir(exist_ok=True)
    files.write_bytes(run.shards / name, image)
    return name


def read(run: Run, name: str, without: Collection[str] = ()) -> Arrays:
    """The arrays of a shard by their paths, none of those `without` whose last part is named there.

    Error: CorruptError where it is missing or was changed.
    """
    if not intact(run, name):
        raise CorruptError(
            f"{run.shards / name}: damaged or missing; restore it from a copy, or run the sweep again without it"
        )
    arrays: Arrays = {}

    def take(path: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and path.rpartition("/")[2] not in without:
            arrays[path] = item[()]

    path = run.shards / name
    try:
        # nothing ever writes to a shard: it needs no lock
        with h5py.File(path, "r", locking=False) as file:
            file.visititems(take)
    except (OSError, RuntimeError) as error:
        # its digest was right a moment ago: the system, not the file, is what fails
        number = re.search(r"errno = (\d+)", str(error))
        raise AfdctlError(f"{path}: cannot be read ({os.strerror(int(number[1])) if number else 'by HDF5'})") from error
    return arrays


def intact(run: Run, name: str) -> bool:
    """Whether the shard is what was written: its digest is the one in its name."""
    path = run.shards / name
    if not path.is_file():
        return False
    facts = path.stat()
    # a sweep asks often, and saved images are many gigabytes; within a clock's tick a file may change unseen
    settled = time.time_ns() - facts.st_mtime_ns > SETTLED_NS
    digest = _known_digest if settled else _digest
    return name.endswith(f"-{digest(path, facts.st_ino, facts.st_size, facts.st_mtime_ns)[:16]}.h5")


def _digest(path: Path, *version: int) -> str:
    with named(path), path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


_known_digest = lru_cache(4096)(_digest)


def remove(run: Run, name: str) -> None:
    (run.shards / name).unlink(missing_ok=True)


def h5_bytes(arrays: Mapping[str, np.ndarray[Any, Any]], about: Mapping[str, Any]) -> bytes:
    """An HDF5 file's bytes, made in memory: HDF5 crashes the interpreter when it meets a full disk."""
    with h5py.File("shard.h5", "w", driver="core", backing_store=False) as file:
        for path, array in arrays.items():
            hdf5.add(file, path, array)
        file.attrs.update(about)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image
