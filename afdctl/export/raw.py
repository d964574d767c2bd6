"""A run's journal as tidy tables: the rows of its training, and the cells of its sweeps."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from typing import Any, Final

from afdctl.export.parquet import parquet
from afdctl.runs.record import Record

TRAINING = ("step", "epoch", "test")
FIRST = ("run", "event", "t", "step", "epoch")
NOT_OF_CELLS = ("event", "last", "images")
Rows = list[dict[str, Any]]


def events(records: Iterable[Record]) -> Rows:
    """Every step, epoch and test of each run, in its order: without what a resume superseded.

    Rows have the columns that their event has; `t` is in seconds since 1970.
    """
    return [{"run": record.name, **row} for record in records for row in record.every_row() if row["event"] in TRAINING]


def cells(records: Iterable[Record]) -> Rows:
    """Every cell that a run's sweeps measured; `shown` says which of them tables and results.h5 show.

    `spec` holds the attack's settings as JSON, and `changed` the names of those that are not the suite's own; `dataset`
    and `method` say what was attacked.
    """
    made = []
    for record in records:
        shown = {id(row) for curve in record.curves.values() for row in curve.cells}
        about = {"run": record.name, "dataset": record.dataset, "method": record.method}
        for row in record.of_kind("cell"):
            told = {key: value for key, value in row.items() if key not in NOT_OF_CELLS}
            texts = {"spec": json.dumps(row["spec"]), "changed": " ".join(row.get("changed", ()))}
            made.append({**about, "shown": id(row) in shown, **told, **texts})
    return made


def as_csv(rows: Rows) -> str:
    """A line a row; a column for every key that any row has, empty where it has none."""
    lines = StringIO()
    writer = csv.DictWriter(lines, columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return lines.getvalue()


def as_json(rows: Rows) -> str:
    """One object: `rows` have the keys that their event has."""
    return json.dumps({"schema": "afdctl/1", "rows": rows}, allow_nan=False) + "\n"


def as_parquet(rows: Rows) -> bytes:
    """A column for every key that any row has, null where it has none."""
    names = columns(rows)
    return parquet([{name: row.get(name) for name in names} for row in rows])


def columns(rows: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """All keys in the order of their first row, those that every row has first."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return [*(key for key in FIRST if key in keys), *(key for key in keys if key not in FIRST)]


FORMATS: Final[Mapping[str, Callable[[Rows], str | bytes]]] = {
    "csv": as_csv,
    "json": as_json,
    "parquet": as_parquet,
}
