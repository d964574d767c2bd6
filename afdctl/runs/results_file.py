"""Build results.h5, the file that users open, from the journal, run.json and the shards."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import h5py

from afdctl.errors import CorruptError, file_errors
from afdctl.formatting import encodable
from afdctl.journal import SCHEMA, JournalOutline, Row
from afdctl.runs import shards
from afdctl.runs.results_tables import add_table, tables_of
from afdctl.runs.run import RESULTS_BEGIN, Run
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
# steps of a stored table that are in memory at once
READ_ROWS: Final = 1 << 16
# Largest fraction of the time that `PeriodicBuilder` spends; a build of 100,000 rows takes 0.1 s.
TIME_FRACTION: Final = 0.01


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
    digests = _digests(run.journal_path, sorted({min(old_size, outline.end), outline.end}))
    attributes = run.provenance | {
        "schema": SCHEMA,
        "name": run.name,
        "recipe": run.recipe_text,
        "complete": any(row["event"] == "end" and row["reason"] == "finished" for row in rows),
        "log_offset": outline.end,
        "log_sha256": digests[outline.end],
    }
    checks = warnings_by_network(rows)
    run.keep_lost_rows(old_size, outline.end)
    begin = RESULTS_BEGIN % outline.end
    with suppress(_OvertakenError), shards.writing_hdf5(run.results_path, begin) as file:
        copied = 0 if anew else _copy_steps(file, run, outline, digests)
        add_table(file, STEPS, outline.read_blocks(["step"], copied))
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


def _copy_steps(file: h5py.File, run: Run, outline: JournalOutline, digests: Mapping[int, str]) -> int:
    """Copy the steps of the old results.h5; return the byte of the journal up to which they are, 0 for none copied."""
    with suppress(OSError), _stored_steps(run, outline, digests) as (steps, end):
        if steps is not None:
            file.copy(steps, file, STEPS)
            return end
    return 0


def step_tables(run: Run, outline: JournalOutline) -> Iterator[shards.Array]:
    """Yield the steps that count, in tables: from results.h5 those that it has, which takes 0.1 of the journal's time.

    `outline` is that of the run's journal.
    """
    digests = _digests(run.journal_path, [min(run.results_journal_size, outline.end)])
    with _stored_steps(run, outline, digests) as (steps, end):
        for first in range(0, 0 if steps is None else len(steps), READ_ROWS):
            yield steps[first : first + READ_ROWS]  # type: ignore[index]
    yield from tables_of(outline.read_blocks(["step"], end))


@contextmanager
def _stored_steps(
    run: Run, outline: JournalOutline, digests: Mapping[int, str]
) -> Iterator[tuple[h5py.Dataset | None, int]]:
    """Open the steps of the present results.h5, and the byte of the journal up to which they are; None and 0 for none.

    They are those of the journal now if it has only grown since, by rows after which no step counts less. `digests` are
    those of the journal by its size, then and now.
    """
    with ExitStack() as stack:
        found: tuple[h5py.Dataset | None, int] = None, 0
        with suppress(OSError, KeyError):
            # without a cache: HDF5 2.0 copies a chunk that it has in its cache into a buffer that is too small, which
            # ends the process (from 600 steps on)
            old = stack.enter_context(h5py.File(run.results_path, rdcc_nbytes=0))
            end, steps = int(old.attrs["log_offset"]), old[STEPS]
            is_prefix = digests.get(end) == old.attrs["log_sha256"]
            if is_prefix and len(steps) and old.attrs["schema"] == SCHEMA and not outline.has_resume_after(end):
                for first in range(0, len(steps), READ_ROWS):
                    _ = steps[first : first + READ_ROWS]  # verifies their checksums, which a copy does not
                found = steps, end
        yield found


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


def _digests(path: Path, sizes: Iterable[int]) -> dict[int, str]:
    """Map each size, ascending, to the SHA-256 of so many first bytes of a file."""
    digests, digest, done = {}, sha256(), 0
    with file_errors(path), path.open("rb") as file:
        for size in sizes:
            while done < size and (piece := file.read(min(size - done, READ_BYTES))):
                digest.update(piece)
                done += len(piece)
            digests[size] = digest.hexdigest()
    return digests
