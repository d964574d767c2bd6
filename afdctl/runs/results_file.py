"""Build results.h5, the file that users open, from the journal, run.json and the shards.

Columns are in the order in which they first occur in the journal; a missing number is NaN, a missing integer -1.
"""

import json
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import h5py

from afdctl.errors import CorruptError, file_errors
from afdctl.formatting import encodable
from afdctl.journal import SCHEMA, JournalOutline, Row
from afdctl.runs import hdf5, shards
from afdctl.runs.checks import Warnings, by_network, warnings_of
from afdctl.runs.kept_results import journal_size_of, keep_lost_rows
from afdctl.runs.run import Run
from afdctl.runs.selection import selected_analyses, selected_curves, selected_features

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


def build(run: Run) -> Path:
    """Build a run's results.h5 and return its path; after DiskFullError the old one stays.

    Rows that a resume superseded are left out. `log_offset` and `log_sha256` identify the journal it was made from. If
    another process has meanwhile built it from a longer journal, that one stays.
    """
    # never held open for writing: a kill leaves up to 5 % of such files unreadable, and readers are locked out
    old_size = journal_size_of(run.results_path)
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
    checks = by_network(rows)
    keep_lost_rows(run.results_path, old_size, outline.end)
    with suppress(_OvertakenError), hdf5.writing(run.results_path) as file:
        hdf5.add_table(file, STEPS, outline.read(["step"]))
        for event, name in TABLES.items():
            hdf5.add_table(file, name, (row for row in rows if row["event"] == event))
        for shard, cells in _by_shard(rows).items():
            _add_cells(file, run, shard, cells, checks)
        for row in selected_analyses(rows).values():
            _add_analysis(file, run, row, checks)
        for row in selected_features(rows):
            # large arrays stay in their shard; the next analysis makes those of a damaged one again
            if shards.intact(run, row["shard"]):
                place = FEATURES.format(**row) if row["attack"] else NATURAL
                file[place] = h5py.ExternalLink(f"shards/{row['shard']}", "/")
        _describe(file, attributes)
        if journal_size_of(run.results_path) > outline.end:
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


def _by_shard(rows: list[Row]) -> dict[str, list[Row]]:
    """Return the cells that count, by shard."""
    by_shard: dict[str, list[Row]] = {}
    for row in (cell for curve in selected_curves(rows).values() for cell in curve.cells):
        by_shard.setdefault(row["shard"], []).append(row)
    return by_shard


def _cell_name(row: Row) -> str:
    return encodable((TRANSFER if row["source"] else CELL).format(**row))


def _add_cells(file: h5py.File, run: Run, shard: str, cells: list[Row], checks: Warnings) -> None:
    """Add a group for each cell, with a data set for each array; adversarial images stay in their shard."""
    try:
        arrays = shards.read(run, shard, without=IMAGES)
    except CorruptError:
        return  # the next sweep makes these cells again
    for row in cells:
        group, of_cell = file.create_group(_cell_name(row)), f"{row['epsilon']:g}/"
        for path, array in arrays.items():
            if "/" not in (name := path.removeprefix(of_cell)):
                hdf5.add(group, name, array)
        if row["images"]:
            group["x_adv"] = h5py.ExternalLink(f"shards/{shard}", f"{of_cell}x_adv")
        attributes = {key: value for key, value in row.items() if key not in INTERNAL_FIELDS}
        _describe(group, attributes | {"warnings": warnings_of(row, checks)})


def _add_analysis(file: h5py.File, run: Run, row: Row, checks: Warnings) -> None:
    """Add a group for an analysis: its metrics as attributes, its arrays as data sets."""
    group = file.create_group(f"/analysis/{row['name']}")
    _describe(group, row["metrics"] | {key: row[key] for key in ("checkpoint", "n", "seed")})
    _describe(group, {"warnings": warnings_of(row, checks)})
    if row["shard"] and shards.intact(run, row["shard"]):
        for path, array in shards.read(run, row["shard"]).items():
            hdf5.add(group, path, array)


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
