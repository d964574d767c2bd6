"""Tables of journal rows in an HDF5 file.

Columns are in the order in which they first occur in the journal; a missing number is NaN, a missing integer -1.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

import h5py
import numpy as np

from afdctl.formatting import encodable
from afdctl.journal import Row, Steps
from afdctl.runs import shards

# The other columns hold floats or text.
INTEGER_COLUMNS: Final = {"step", "epoch"}
# Rows of a table that are in memory at once (75 MB instead of 615 MB at 200,000 steps), and rows in a compressed chunk.
BATCH_ROWS: Final = 4096
CHUNK_ROWS: Final = 512
# Fewer steps with the same fields are written together with others.
MIN_BLOCK: Final = 512


def add_table(file: h5py.File, name: str, rows: Iterable[Row | Steps]) -> None:
    """Add a table of rows with a column for each key but `event`, in the order in which rows first have them.

    Rows are appended to a table that the file has. A missing value is NaN, -1 in an integer column, and empty in a text
    column.
    """
    data = file.get(name)
    for table in tables_of(rows):
        if data is None:
            data = _create_table(file, name, table.dtype)
        elif new := [column for column in table.dtype.names or () if column not in data.dtype.names]:
            data = _with_columns(file, name, {column: table.dtype[column] for column in new})
        _append(data, table)
    if data is None:
        shards.add_array(file, name, _table([]))


def _create_table(file: h5py.File, name: str, dtype: Any) -> h5py.Dataset:
    return file.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(CHUNK_ROWS,), **shards.COMPRESSION)


def _append(data: h5py.Dataset, table: shards.Array) -> None:
    """Append rows to a table that has all their columns, and perhaps more."""
    rows = np.empty(len(table), data.dtype)
    for name in data.dtype.names:
        if name in (table.dtype.names or ()):
            rows[name] = table[name]
        else:
            rows[name] = _column(name, [None] * len(table), as_text=data.dtype[name].kind == "O")
    data.resize(len(data) + len(rows), axis=0)
    data[-len(rows) :] = rows


def _with_columns(file: h5py.File, name: str, columns: dict[str, Any]) -> h5py.Dataset:
    """Replace a table by one with more columns."""
    # HDF5 cannot add a field to a data set
    old_name, old = f"{name} before", file[name]
    file.move(name, old_name)
    new = _create_table(file, name, [*((column, old.dtype[column]) for column in old.dtype.names), *columns.items()])
    for first in range(0, len(old), BATCH_ROWS):
        _append(new, old[first : first + BATCH_ROWS])
    del file[old_name]
    return new


def tables_of(rows: Iterable[Row | Steps]) -> Iterator[shards.Array]:
    """Yield tables of at most `BATCH_ROWS` rows, or one for each block, with a column for each key but `event`."""
    batch: list[Row] = []
    for item in rows:
        is_block = isinstance(item, Steps) and item.length >= MIN_BLOCK
        if batch and (is_block or len(batch) >= BATCH_ROWS):
            yield _table(batch)
            batch = []
        if not isinstance(item, Steps):
            batch.append(item)
        elif is_block:
            yield _table_of_steps(item)
        else:
            batch += item.rows()
    if batch:
        yield _table(batch)


def _table_of_steps(steps: Steps) -> shards.Array:
    values = np.array(steps.values(), np.float64)
    types = [(name, np.int64 if name in INTEGER_COLUMNS else np.float64) for name in steps.names]
    table = np.empty(len(values), types)
    for name, column in zip(steps.names, values.T, strict=True):
        table[name] = column
    return table


def _table(rows: list[Row]) -> shards.Array:
    names = dict.fromkeys(chain.from_iterable(rows or [{"step": None}]))
    columns = {name: _column(name, [row.get(name) for row in rows]) for name in names if name != "event"}
    table = np.empty(len(rows), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table


def _column(name: str, values: list[Any], *, as_text: bool = False) -> shards.Array:
    if name in INTEGER_COLUMNS:
        return np.array([-1 if value is None else value for value in values], np.int64)
    if as_text or str in set(map(type, values)):
        return np.array(["" if value is None else encodable(str(value)) for value in values], h5py.string_dtype())
    return np.array(values, np.float64)
