"""results.h5: what a user opens, derived from the journal and run.json whenever it is wanted.

Columns are in the order in which the journal first names them; a figure that a row lacks is NaN (a whole number: -1).
"""

import json
from contextlib import suppress
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from afdctl.errors import CorruptError
from afdctl.events import SCHEMA, Row, effective, named, tail
from afdctl.store import atomic, shards
from afdctl.store.cells import newest_analyses, newest_curves, replaces
from afdctl.store.checks import Warnings, by_network, warnings_of
from afdctl.store.gaps import keep_lost_rows
from afdctl.store.run import Run

CELL = "/attacks/{attack}/{epsilon:g}"
TRANSFER = "/attacks/{attack} from {source}/{epsilon:g}"
FEATURES = "/features/{attack}/{epsilon:g}"
NATURAL = "/features/natural"
INTERNAL = {"event", "t", "last", "images"}
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
    keep_lost_rows(run, offset)
    atomic.write_bytes(run.results_path, _image(run, rows, attributes))
    return run.results_path


def refresh(run: Run) -> None:
    """Build results.h5 where it is missing, damaged, or older than the journal: a kill may have come in between."""
    size = run.journal_path.stat().st_size
    # one that HDF5 cannot open, or that lacks the mark, is made anew as well
    with suppress(OSError, KeyError), h5py.File(run.results_path) as file:
        if file.attrs["log_offset"] == size:
            return
    build(run)


def _image(run: Run, rows: list[Row], attributes: dict[str, Any]) -> bytes:
    """The HDF5 file's bytes, made in memory: HDF5 crashes the interpreter when it meets a full disk."""
    with h5py.File("results.h5", "w", driver="core", backing_store=False) as file:
        for event, name in TABLES.items():
            table = _table([row for row in rows if row["event"] == event])
            shards.add(file, name, table)
        checks = by_network(rows)
        for shard, cells in _by_shard(rows).items():
            _add_cells(file, run, shard, cells, checks)
        for row in newest_analyses(rows).values():
            _add_analysis(file, run, row, checks)
        for place, shard in _features(rows).items():
            file[place] = h5py.ExternalLink(f"shards/{shard}", "/")
        _describe(file, attributes)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _by_shard(rows: list[Row]) -> dict[str, list[Row]]:
    """Shard -> the cells to show: for each attack and source, those with the settings of the newest one."""
    by_shard: dict[str, list[Row]] = {}
    for row in chain.from_iterable(newest_curves(rows).values()):
        by_shard.setdefault(row["shard"], []).append(row)
    return by_shard


def _cell_name(row: Row) -> str:
    return (TRANSFER if row["source"] else CELL).format(**row)


def _add_cells(file: h5py.File, run: Run, shard: str, cells: list[Row], checks: Warnings) -> None:
    """A group a cell: what its samples did, one dataset a column; adversarial images stay in their shard."""
    try:
        arrays = shards.read(run, shard)
    except CorruptError:
        return  # the next sweep makes these cells again
    for row in cells:
        group, of_cell = file.create_group(_cell_name(row)), f"{row['epsilon']:g}/"
        for path, array in arrays.items():
            name = path.removeprefix(of_cell)
            if name == "x_adv":
                group[name] = h5py.ExternalLink(f"shards/{shard}", path)
            elif "/" not in name:
                shards.add(group, name, array)
        facts = {key: value for key, value in row.items() if key not in INTERNAL}
        _describe(group, facts | {"warnings": warnings_of(row, checks)})


def _add_analysis(file: h5py.File, run: Run, row: Row, checks: Warnings) -> None:
    """A group an analysis: its figures as attributes, its arrays as data sets."""
    group = file.create_group(f"/analysis/{row['name']}")
    _describe(group, row["figures"] | {key: row[key] for key in ("checkpoint", "n", "seed")})
    _describe(group, {"warnings": warnings_of(row, checks)})
    if row["shard"] and shards.intact(run, row["shard"]):
        for path, array in shards.read(run, row["shard"]).items():
            shards.add(group, path, array)


def _features(rows: list[Row]) -> dict[str, str]:
    """Place -> the shard of the newest features, which stay there: they are large."""
    newest: dict[str, Row] = {}
    for row in rows:
        if row["event"] == "features":
            place = FEATURES.format(**row) if row["attack"] else NATURAL
            if replaces(row, newest.get(place)):
                newest[place] = row
    return {place: row["shard"] for place, row in newest.items()}


def _describe(item: h5py.Group, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        item.attrs[name] = value if isinstance(value, str | int | float) else json.dumps(value)


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
    with named(path), path.open("rb") as file:
        return sha256(file.read(size)).hexdigest()
