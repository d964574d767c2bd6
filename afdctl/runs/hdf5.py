"""HDF5 files that are there completely or not at all, and tables in them that are made in bounded memory."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from itertools import chain, islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from afdctl.formatting import encodable
from afdctl.journal import Row
from afdctl.runs import files

Array = np.ndarray[Any, Any]
PACKED: dict[str, Any] = {"shuffle": True, "compression": "gzip", "compression_opts": 1, "fletcher32": True}
"""Small, and with a checksum that every reader of HDF5 verifies."""
WHOLE = {"step", "epoch"}
"""Columns of whole numbers; the others hold floats, or text."""
AT_ONCE, CHUNK = 4096, 512
"""Rows of a table that are in memory together, and that are packed together."""


@contextmanager
def writing(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file, put at `path` when it is complete. Error: DiskFullError, which leaves the old one in place."""
    with files.writing(path) as file:
        target = _Unfailing(file)
        try:
            with h5py.File(target, "w") as made:
                yield made
        finally:
            # whatever HDF5 then made of what it read back
            if target.error:
                raise target.error


class _Unfailing:
    """A file as HDF5 sees it: after an error, which `error` keeps, it seems to take everything.

    HDF5 crashes the interpreter where a write fails, as on a full disk.
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
        """There is no buffer."""


def add(group: h5py.Group, path: str, array: Array) -> None:
    """A packed data set."""
    group.create_dataset(path, data=array, chunks=True, **PACKED)


def add_table(file: h5py.File, name: str, rows: Iterable[Row]) -> None:
    """A table of rows, a column for each key but `event`, in the order in which rows first name them.

    What a row lacks is NaN, -1 in a column of whole numbers, and empty text. AT_ONCE rows are in memory together.
    """
    rows = iter(rows)
    data = None
    while some := list(islice(rows, AT_ONCE)):
        table = _table(some)
        if data is None:
            data = _growing(file, name, table.dtype)
        elif more := [column for column in table.dtype.names or () if column not in data.dtype.names]:
            data = _widened(file, name, {column: table.dtype[column] for column in more})
        _append(data, table)
    if data is None:
        add(file, name, _table([]))


def _growing(file: h5py.File, name: str, dtype: Any) -> h5py.Dataset:
    return file.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(CHUNK,), **PACKED)


def _append(data: h5py.Dataset, table: Array) -> None:
    """Put rows behind those of a table that has all their columns, and maybe more."""
    rows = np.empty(len(table), data.dtype)
    for name in data.dtype.names:
        known = name in (table.dtype.names or ())
        rows[name] = table[name] if known else _column(name, [None] * len(table), as_text=data.dtype[name].kind == "O")
    data.resize(len(data) + len(rows), axis=0)
    data[-len(rows) :] = rows


def _widened(file: h5py.File, name: str, more: dict[str, Any]) -> h5py.Dataset:
    """The same table with more columns: some row is the first to name them."""
    old, narrow = f"{name} before", file[name]
    file.move(name, old)
    wide = _growing(file, name, [*((column, narrow.dtype[column]) for column in narrow.dtype.names), *more.items()])
    for first in range(0, len(narrow), AT_ONCE):
        _append(wide, narrow[first : first + AT_ONCE])
    del file[old]
    return wide


def _table(rows: list[Row]) -> Array:
    names = dict.fromkeys(chain.from_iterable(rows or [{"step": None}]))
    columns = {name: _column(name, [row.get(name) for row in rows]) for name in names if name != "event"}
    table = np.empty(len(rows), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table


def _column(name: str, values: list[Any], *, as_text: bool = False) -> Array:
    if name in WHOLE:
        return np.array([-1 if value is None else value for value in values], np.int64)
    if as_text or str in set(map(type, values)):
        return np.array(["" if value is None else encodable(str(value)) for value in values], h5py.string_dtype())
    return np.array(values, np.float64)
