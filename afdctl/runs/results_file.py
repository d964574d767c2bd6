"""Build results.h5, the file that users open, from the journal, run.json and the shards.

Columns are in the order in which they first occur in the journal; a missing number is NaN, a missing integer -1.
"""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from afdctl.errors import CorruptError, file_errors
from afdctl.formatting import encodable
from afdctl.journal import SCHEMA, JournalOutline, Row
from afdctl.runs import shards
from afdctl.runs.run import Run
from afdctl.runs.selection import (
    Warnings,
    also_measured,
    selected_analyses,
    selected_curves,
    selected_features,
    warnings_by_network,
    warnings_of,
)

CELL: Final = "/attacks/{attack}/{epsilon:g}"
TRANSFER: Final = "/attacks/{attack} from {source}/{epsilon:g}"
FEATURES: Final = "/features/{attack}/{epsilon:g}"
NATURAL: Final = "/features/natural"
# Arrays that stay in their shard: adversarial images have gigabytes.
IMAGES: Final = ("x_adv",)
# Fields of a cell that are no attributes.
INTERNAL_FIELDS: Final = {"event", "t", "last", "images"}
STEPS: Final = "/train/steps"
TABLES: Final = {"epoch": "/train/epochs", "test": "/train/tests"}
READ_BYTES: Final = 1 << 20
# Largest fraction of the time that `PeriodicBuilder` spends; a build of 100,000 rows takes 0.1 s.
TIME_FRACTION: Final = 0.01
# The other columns hold floats or text.
INTEGER_COLUMNS: Final = {"step", "epoch"}
# Rows of a table that are in memory at once (75 MB instead of 615 MB at 200,000 steps), and rows in a compressed chunk.
BATCH_ROWS: Final = 4096
CHUNK_ROWS: Final = 512


def build(run: Run, *, anew: bool = False) -> Path:
    """Build a run's results.h5 and return its path; after DiskFullError the old one stays.

    Rows that a resume superseded are left out. `log_offset` and `log_sha256` identify the journal it was made from. If
    another process has meanwhile built it from a longer journal, that one stays. Steps that the old file has are copied
    from it, unless `anew`.
    """
    # never held open for writing: a kill leaves up to 5 % of such files unreadable, and readers are locked out
    # read before the journal, so that rows appended meanwhile do not look lost
    old_size = run.results_journal_size
    outline = JournalOutline(run.journal_path)
    rows = outline.rows
    attributes = run.provenance | {
        "schema": SCHEMA,
        "name": run.name,
        "recipe": run.recipe_text,
        "complete": any(row["event"] == "end" and row["reason"] == "finished" for row in rows),
        "log_offset": outline.end,
        "log_sha256": _digest(run.journal_path, outline.end),
    }
    checks = warnings_by_network(rows)
    run.keep_lost_rows(old_size, outline.end)
    with suppress(_OvertakenError), shards.writing_hdf5(run.results_path) as file:
        copied = 0 if anew else _copy_steps(file, run, outline)
        add_table(file, STEPS, outline.read(["step"], copied))
        for event, name in TABLES.items():
            add_table(file, name, (row for row in rows if row["event"] == event))
        for shard, cells in _by_shard(rows).items():
            _add_cells(file, run, shard, cells, checks)
        for folder, checkpoint in _folders(rows, "analysis").items():
            for row in selected_analyses(rows, checkpoint).values():
                _add_analysis(file, run, folder, row, checks)
            for row in selected_features(rows, checkpoint):
                # large arrays stay in their shard; the next analysis makes those of a damaged one again
                if shards.intact(run, row["shard"]):
                    place = FEATURES.format(**row) if row["attack"] else NATURAL
                    file[folder + place] = h5py.ExternalLink(f"shards/{row['shard']}", "/")
        _describe(file, attributes)
        # checked last, as another process may have built a newer one meanwhile
        if run.results_journal_size > outline.end:
            raise _OvertakenError
    return run.results_path


class _OvertakenError(Exception):
    """Another process has built a newer results.h5."""


class PeriodicBuilder:
    """Builds results.h5 repeatedly during a training or a sweep, for at most `TIME_FRACTION` of the time."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._due = time.monotonic()

    def build_if_due(self) -> None:
        """Build unless the last build was too recent. Error: DiskFullError."""
        began = time.monotonic()
        if began >= self._due:
            build(self.run)
            now = time.monotonic()
            self._due = now + (now - began) / TIME_FRACTION


def refresh(run: Run) -> None:
    """Build results.h5 if it is missing, damaged, or older than the journal, as after a kill."""
    size = run.journal_path.stat().st_size
    # a file that HDF5 cannot open, or without this attribute, is built again as well
    with suppress(OSError, KeyError), h5py.File(run.results_path) as file:
        if file.attrs["log_offset"] == size:
            return
    build(run)


def _copy_steps(file: h5py.File, run: Run, outline: JournalOutline) -> int:
    """Copy the steps of the old results.h5; return the byte of the journal up to which they are, 0 for none copied.

    They are those of the journal now if it has only grown since, by rows after which no step counts less.
    """
    with suppress(OSError, KeyError), h5py.File(run.results_path) as old:
        end, steps = int(old.attrs["log_offset"]), old[STEPS]
        is_prefix = end <= outline.end and _digest(run.journal_path, end) == old.attrs["log_sha256"]
        if is_prefix and len(steps) and old.attrs["schema"] == SCHEMA and not outline.has_resume_after(end):
            file.copy(steps, file, STEPS)
            return end
    return 0


def _folders(rows: list[Row], event: str) -> dict[str, str]:
    """Map the top folder of results of one kind to their checkpoint: `` for those that count, then such as `/last`."""
    return {"": "best"} | {f"/{name}": digest for name, digest in also_measured(rows, event).items()}


def _by_shard(rows: list[Row]) -> dict[str, dict[str, Row]]:
    """Return the cells of all folders by shard, each under its path in results.h5."""
    by_shard: dict[str, dict[str, Row]] = {}
    for folder, checkpoint in _folders(rows, "cell").items():
        for row in (cell for curve in selected_curves(rows, checkpoint).values() for cell in curve.cells):
            name = (TRANSFER if row["source"] else CELL).format(**row)
            by_shard.setdefault(row["shard"], {})[encodable(folder + name)] = row
    return by_shard


def _add_cells(file: h5py.File, run: Run, shard: str, cells: dict[str, Row], checks: Warnings) -> None:
    """Add a group for each cell, with a data set for each array; adversarial images stay in their shard."""
    try:
        arrays = shards.read(run, shard, without=IMAGES)
    except CorruptError:
        return  # the next sweep makes these cells again
    for name_in_file, row in cells.items():
        group, of_cell = file.create_group(name_in_file), f"{row['epsilon']:g}/"
        for path, array in arrays.items():
            if "/" not in (name := path.removeprefix(of_cell)):
                shards.add_array(group, name, array)
        if row["images"]:
            group["x_adv"] = h5py.ExternalLink(f"shards/{shard}", f"{of_cell}x_adv")
        attributes = {key: value for key, value in row.items() if key not in INTERNAL_FIELDS}
        _describe(group, attributes | {"warnings": warnings_of(row, checks)})


def _add_analysis(file: h5py.File, run: Run, folder: str, row: Row, checks: Warnings) -> None:
    """Add a group for an analysis: its metrics as attributes, its arrays as data sets."""
    group = file.create_group(f"{folder}/analysis/{row['name']}")
    _describe(group, row["metrics"] | {key: row[key] for key in ("checkpoint", "subset", "n", "seed") if key in row})
    _describe(group, {"warnings": warnings_of(row, checks)})
    if row["shard"] and shards.intact(run, row["shard"]):
        for path, array in shards.read(run, row["shard"]).items():
            shards.add_array(group, path, array)


def _describe(item: h5py.Group, attributes: dict[str, Any]) -> None:
    """Set attributes; values that HDF5 has no type for become JSON."""
    for name, value in attributes.items():
        if isinstance(value, str):
            value = encodable(value)
        item.attrs[name] = value if isinstance(value, str | int | float) else json.dumps(value)


def _digest(path: Path, size: int) -> str:
    """Return the SHA-256 of the first `size` bytes of a file."""
    digest = sha256()
    with file_errors(path), path.open("rb") as file:
        while size and (piece := file.read(min(size, READ_BYTES))):
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest()


def add_table(file: h5py.File, name: str, rows: Iterable[Row]) -> None:
    """Add a table of rows with a column for each key but `event`, in the order in which rows first have them.

    Rows are appended to a table that the file has. A missing value is NaN, -1 in an integer column, and empty in a text
    column.
    """
    rows = iter(rows)
    data = file.get(name)
    while batch := list(islice(rows, BATCH_ROWS)):
        table = _table(batch)
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
