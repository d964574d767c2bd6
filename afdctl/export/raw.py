"""Journals as tidy tables: the rows of trainings, and the cells of sweeps, as CSV, JSON or Parquet."""

import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from typing import Any, Final, NamedTuple

from afdctl.export.parquet import NumberLines, parquet
from afdctl.journal import Steps
from afdctl.runs.record import Record
from afdctl.runs.results_tables import MIN_BLOCK
from afdctl.runs.selection import checkpoint_name

TRAINING_EVENTS: Final = ("step", "epoch", "test")
FIRST_COLUMNS: Final = ("run", "event", "t", "step", "epoch")
# fields of a cell's row that describe the journal, not the cell
OMITTED_FIELDS: Final = ("event", "last", "images")
# rows that are in memory at once as text
BATCH_ROWS: Final = 4096
BATCH_BYTES: Final = 1 << 20
# can be iterated more than once
Rows = Iterable[dict[str, Any]]


@dataclass(frozen=True)
class Events:
    """Every step, epoch and test of each run in order, without those that a resume superseded.

    Each row has the fields of its event; `t` is in seconds since 1970. Rows are read anew for each iteration, because a
    long training has millions.
    """

    records: Sequence[Record]
    kinds: Collection[str] = TRAINING_EVENTS

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for record in self.records:
            name = record.name
            for row in record.read_rows(self.kinds):
                yield {"run": name, **row}

    def blocks(self) -> "Iterator[dict[str, Any] | StepsOfRun]":
        """Yield what iteration does, but consecutive steps with the same fields as one block."""
        for record in self.records:
            name = record.name
            for block in record.read_blocks(self.kinds):
                yield StepsOfRun(name, block) if isinstance(block, Steps) else {"run": name, **block}


class StepsOfRun(NamedTuple):
    """Consecutive steps of a run with the same fields."""

    run: str
    steps: Steps

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all fields."""
        return "run", "event", *self.steps.names

    def as_csv(self, columns: Sequence[str]) -> str | None:
        """Return the lines of all steps, numbers as in the journal; None where other columns are between."""
        if tuple(columns[: len(self.names)]) != self.names:
            return None
        begin = StringIO()
        csv.writer(begin, lineterminator="").writerow([self.run, "step", ""])
        end = "," * (len(columns) - len(self.names)) + "\n"
        numbers = b"\n".join(self.steps.numbers).replace(b"null", b"").decode()
        return begin.getvalue() + numbers.replace("\n", end + begin.getvalue()) + end

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the row of each step."""
        return ({"run": self.run, **row} for row in self.steps.rows())


def cells(records: Iterable[Record]) -> list[dict[str, Any]]:
    """List every cell that sweeps measured; `shown` marks those that tables show.

    `checkpoint_name` is `best`, `last` or the start of a digest. `spec` is the attack's settings as JSON, `changed` the
    names of those that differ from the suite. `dataset` and `method` describe the model under attack.
    """
    rows = []
    for record in records:
        # rows are dictionaries, which no set can hold; a curve has the same objects
        shown = {id(row) for curve in record.curves.values() for row in curve.cells}
        target = {"run": record.name, "dataset": record.dataset, "method": record.method}
        for row in record.of_kind("cell"):
            fields = {key: value for key, value in row.items() if key not in OMITTED_FIELDS}
            texts = {"spec": json.dumps(row["spec"]), "changed": " ".join(row.get("changed", ()))}
            name = checkpoint_name(record.rows, row["checkpoint"])
            rows.append({**target, "shown": id(row) in shown, "checkpoint_name": name, **fields, **texts})
    return rows


def as_csv(rows: Rows) -> Iterator[str]:
    """Yield pieces of a text with a column for every key of any row, empty where a row lacks it."""
    lines, columns = StringIO(), _columns(rows)
    writer = csv.DictWriter(lines, columns, lineterminator="\n")
    writer.writeheader()
    for block in _blocks(rows):
        steps = block.as_csv(columns) if isinstance(block, StepsOfRun) else None
        if isinstance(block, dict):
            writer.writerow(block)
        elif steps is None:
            writer.writerows(block.rows())
        if steps or lines.tell() > BATCH_BYTES:
            yield lines.getvalue() + (steps or "")
            lines.seek(0)
            lines.truncate()
    yield lines.getvalue()


def as_json(rows: Rows) -> Iterator[str]:
    """Yield pieces of one object whose `rows` have the keys of their event."""
    yield '{"schema": "afdctl/1", "rows": ['
    rest, before = iter(rows), ""
    while batch := list(islice(rest, BATCH_ROWS)):
        # the journal has null for NaN, which JSON lacks
        yield before + json.dumps(batch, allow_nan=False)[1:-1]
        before = ", "
    yield "]}\n"


def as_parquet(rows: Rows) -> bytes:
    """Write a column for every key of any row, null where a row lacks it."""
    return parquet(_NumberBlocks(rows), FIRST_COLUMNS)


@dataclass(frozen=True)
class _NumberBlocks:
    """The rows as `parquet` takes them."""

    rows: Rows

    def __iter__(self) -> Iterator[dict[str, Any] | NumberLines]:
        for block in _blocks(self.rows):
            if not isinstance(block, StepsOfRun):
                yield block
            # 20,000 steps with a field in every tenth take 0.6 s; as blocks, which are parsed one by one, 7.8 s
            elif block.steps.length < MIN_BLOCK:
                yield from block.rows()
            else:
                numbers = b"\n".join(block.steps.numbers)
                yield NumberLines({"run": block.run, "event": "step"}, block.steps.names, numbers)


FORMATS: Final[Mapping[str, Callable[[Rows], Iterator[str] | bytes]]] = {
    "csv": as_csv,
    "json": as_json,
    "parquet": as_parquet,
}


def _blocks(rows: Rows) -> "Iterable[dict[str, Any] | StepsOfRun]":
    return rows.blocks() if isinstance(rows, Events) else rows


def _columns(rows: Rows) -> Sequence[str]:
    """List all keys in the order of appearance, those common to all events first."""
    # steps without a dictionary for each: with two of them, and text made of each number, a million takes 28 s
    names = (block.names if isinstance(block, StepsOfRun) else block for block in _blocks(rows))
    keys = dict.fromkeys(name for block in names for name in block)
    return [*(key for key in FIRST_COLUMNS if key in keys), *(key for key in keys if key not in FIRST_COLUMNS)]
