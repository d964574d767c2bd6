"""results.h5: what a user opens, derived from the journal and run.json whenever it is wanted.

Columns are in the order in which the journal first names them; a figure that a row lacks is NaN (a whole number: -1).
"""

import json
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from afdctl.events import SCHEMA, Row, effective, tail
from afdctl.store import atomic
from afdctl.store.run import Run

TABLES = {"step": "/train/steps", "epoch": "/train/epochs", "test": "/train/tests"}
WHOLE = {"step", "epoch"}


def build(run: Run) -> Path:
    """Write the run's results.h5 anew and return its path; DiskFullError leaves the old one in place.

    A resumed run's superseded rows are left out. `log_offset` and `log_sha256` say which journal it was made from.
    """
    lines = list(tail(run.journal_path))
    rows = effective(row for row, _ in lines)
    offset = lines[-1][1] if lines else 0
    attributes = run.provenance | {
        "schema": SCHEMA,
        "name": run.name,
        "recipe": run.recipe_text,
        "complete": any(row["event"] == "end" and row["reason"] == "finished" for row in rows),
        "log_offset": offset,
        "log_sha256": _digest(run.journal_path, offset),
    }
    atomic.write_bytes(run.results_path, _image(rows, attributes))
    return run.results_path


def _image(rows: list[Row], attributes: dict[str, Any]) -> bytes:
    """The HDF5 file's bytes, made in memory: HDF5 crashes the interpreter when it meets a full disk."""
    with h5py.File("results.h5", "w", driver="core", backing_store=False) as file:
        for event, name in TABLES.items():
            table = _table([row for row in rows if row["event"] == event])
            file.create_dataset(name, data=table, chunks=True, shuffle=True, compression="gzip", compression_opts=1)
        for name, value in attributes.items():
            file.attrs[name] = value if isinstance(value, str | int | float) else json.dumps(value)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _table(rows: list[Row]) -> np.ndarray[Any, Any]:
    names = dict.fromkeys(chain.from_iterable(rows or [{"step": None}]))
    columns = {name: _column(name, [row.get(name) for row in rows]) for name in names if name != "event"}
    table = np.empty(len(rows), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table


def _column(name: str, values: list[Any]) -> np.ndarray[Any, Any]:
    if name in WHOLE:
        return np.array([-1 if value is None else value for value in values], np.int64)
    if str in set(map(type, values)):
        return np.array(["" if value is None else value for value in values], h5py.string_dtype())
    return np.array(values, np.float64)


def _digest(path: Path, size: int) -> str:
    with path.open("rb") as file:
        return sha256(file.read(size)).hexdigest()
