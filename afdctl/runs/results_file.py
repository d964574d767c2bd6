"""results.h5: what a user opens, derived from the journal and run.json whenever it is wanted.

Columns are in the order in which the journal first names them; a figure that a row lacks is NaN (a whole number: -1).
"""

import json
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py

from afdctl.errors import CorruptError
from afdctl.formatting import encodable
from afdctl.journal import SCHEMA, Row, named
from afdctl.runs import hdf5, shards
from afdctl.runs.checks import Warnings, by_network, warnings_of
from afdctl.runs.journal_reader import JournalOutline
from afdctl.runs.lost_rows import keep_lost_rows, made_from
from afdctl.runs.run import Run
from afdctl.runs.selection import selected_analyses, selected_curves, selected_features

CELL = "/attacks/{attack}/{epsilon:g}"
TRANSFER = "/attacks/{attack} from {source}/{epsilon:g}"
FEATURES = "/features/{attack}/{epsilon:g}"
NATURAL = "/features/natural"
IMAGES = ("x_adv",)
"""Columns of a shard that stay there: saved images are many gigabytes."""
INTERNAL = {"event", "t", "last", "images"}
STEPS = "/train/steps"
TABLES = {"epoch": "/train/epochs", "test": "/train/tests"}
PIECE = 1 << 20
SHARE = 0.01
"""Of the time of what it is built beside, at most."""


def build(run: Run) -> Path:
    """Write the run's results.h5 anew and return its path; DiskFullError leaves the old one in place.

    A resumed run's superseded rows are left out. `log_offset` and `log_sha256` say which journal it was made from. One
    that another process has meanwhile made from more of the journal stays.
    """
    before = made_from(run.results_path)
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
    keep_lost_rows(run, before, outline.end)
    with suppress(_OvertakenError), hdf5.writing(run.results_path) as file:
        hdf5.add_table(file, STEPS, (row for row in outline if row["event"] == "step"))
        for event, name in TABLES.items():
            hdf5.add_table(file, name, (row for row in rows if row["event"] == event))
        for shard, cells in _by_shard(rows).items():
            _add_cells(file, run, shard, cells, checks)
        for row in selected_analyses(rows).values():
            _add_analysis(file, run, row, checks)
        for row in selected_features(rows):
            # large arrays stay in their shard; those of a damaged one are left out, and made again by the next analysis
            if shards.intact(run, row["shard"]):
                place = FEATURES.format(**row) if row["attack"] else NATURAL
                file[place] = h5py.ExternalLink(f"shards/{row['shard']}", "/")
        _describe(file, attributes)
        if made_from(run.results_path) > outline.end:
            raise _OvertakenError
    return run.results_path


class _OvertakenError(Exception):
    """There is a newer results.h5 than the one at work."""


class Builder:
    """Builds results.h5 again and again while something else is at work, but not for more than `SHARE` of the time."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._due = time.monotonic()

    def build_if_due(self) -> None:
        """Build unless the last time is too short ago. Error: DiskFullError."""
        began = time.monotonic()
        if began >= self._due:
            build(self.run)
            now = time.monotonic()
            self._due = now + (now - began) / SHARE


def refresh(run: Run) -> None:
    """Build results.h5 where it is missing, damaged, or older than the journal: a kill may have come in between."""
    size = run.journal_path.stat().st_size
    # one that HDF5 cannot open, or that lacks the mark, is made anew as well
    with suppress(OSError, KeyError), h5py.File(run.results_path) as file:
        if file.attrs["log_offset"] == size:
            return
    build(run)


def _by_shard(rows: list[Row]) -> dict[str, list[Row]]:
    """Shard -> the cells that count."""
    by_shard: dict[str, list[Row]] = {}
    for row in (cell for curve in selected_curves(rows).values() for cell in curve.cells):
        by_shard.setdefault(row["shard"], []).append(row)
    return by_shard


def _cell_name(row: Row) -> str:
    return encodable((TRANSFER if row["source"] else CELL).format(**row))


def _add_cells(file: h5py.File, run: Run, shard: str, cells: list[Row], checks: Warnings) -> None:
    """A group a cell: what its samples did, one dataset a column; adversarial images stay in their shard."""
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
        facts = {key: value for key, value in row.items() if key not in INTERNAL}
        _describe(group, facts | {"warnings": warnings_of(row, checks)})


def _add_analysis(file: h5py.File, run: Run, row: Row, checks: Warnings) -> None:
    """A group an analysis: its figures as attributes, its arrays as data sets."""
    group = file.create_group(f"/analysis/{row['name']}")
    _describe(group, row["figures"] | {key: row[key] for key in ("checkpoint", "n", "seed")})
    _describe(group, {"warnings": warnings_of(row, checks)})
    if row["shard"] and shards.intact(run, row["shard"]):
        for path, array in shards.read(run, row["shard"]).items():
            hdf5.add(group, path, array)


def _describe(item: h5py.Group, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        if isinstance(value, str):
            value = encodable(value)
        item.attrs[name] = value if isinstance(value, str | int | float) else json.dumps(value)


def _digest(path: Path, size: int) -> str:
    digest = sha256()
    with named(path), path.open("rb") as file:
        while size and (piece := file.read(min(size, PIECE))):
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest()
