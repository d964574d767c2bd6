"""Shards: large arrays beside the journal, each an HDF5 file that is there completely or not at all.

`shards/<stem>-<digest>.h5`; the journal names the file, and the digest in its name is verified when it is read.
"""

from collections.abc import Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from afdctl.errors import CorruptError
from afdctl.events import named
from afdctl.store import atomic
from afdctl.store.run import Run

Arrays = dict[str, np.ndarray[Any, Any]]


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
    atomic.write_bytes(run.shards / name, image)
    return name


def read(run: Run, name: str) -> Arrays:
    """The arrays of a shard. Error: CorruptError where it is missing or was changed."""
    data = _verified(run.shards / name)
    if data is None:
        raise CorruptError(
            f"{run.shards / name}: damaged or missing; restore it from a copy, or run the sweep again without it"
        )
    arrays: Arrays = {}
    with h5py.File(BytesIO(data)) as file:
        file.visititems(lambda path, item: arrays.update({path: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return arrays


def intact(run: Run, name: str) -> bool:
    """Whether the shard is what was written."""
    return _verified(run.shards / name) is not None


def _verified(path: Path) -> bytes | None:
    """The content of a shard if its digest is the one in its name, else None."""
    with named(path):
        data = path.read_bytes() if path.is_file() else b""
    return data if path.name.endswith(f"-{sha256(data).hexdigest()[:16]}.h5") else None


def remove(run: Run, name: str) -> None:
    (run.shards / name).unlink(missing_ok=True)


def h5_bytes(arrays: Mapping[str, np.ndarray[Any, Any]], about: Mapping[str, Any]) -> bytes:
    """An HDF5 file's bytes, made in memory: HDF5 crashes the interpreter when it meets a full disk."""
    with h5py.File("shard.h5", "w", driver="core", backing_store=False) as file:
        for path, array in arrays.items():
            add(file, path, array)
        file.attrs.update(about)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def add(group: h5py.Group, path: str, array: np.ndarray[Any, Any]) -> None:
    """A packed data set."""
    group.create_dataset(path, data=array, chunks=True, shuffle=True, compression="gzip", compression_opts=1)
