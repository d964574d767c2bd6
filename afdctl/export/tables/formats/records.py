"""A table for programs: a flat record a row, and CSV, JSON and Parquet made of them."""

import csv
import json
from io import StringIO
from typing import Any, Final

from afdctl.export.parquet import parquet
from afdctl.export.tables.table import Cell, Column, Kind, Row, Table

Record = dict[str, Any]

BESIDE: Final[dict[Kind, tuple[str, ...]]] = {
    "share": ("std", "low", "high", "n"), "area": ("std", "n"), "count": ("std", "n"), "seconds": ("std",),
    "ratio": (), "text": (),
}  # fmt: skip
"""What stands beside a figure, such as `pgd_linf_wb`: `pgd_linf_wb_std` and so on."""


def records(table: Table) -> list[Record]:
    """A flat record a row: labels, its runs, and each figure; shares in [0, 1], None for what is missing."""
    compared = any(cell.published is not None for row in table.rows for cell in row.cells.values())
    return [_record(table, row, compared) for row in table.rows]


def as_csv(table: Table) -> str:
    """A line a row under one of names; runs with spaces between, nothing where a figure is missing."""
    lines = StringIO()
    rows = [{**record, "runs": " ".join(record["runs"])} for record in records(table)]
    writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return lines.getvalue()


def as_json(table: Table) -> str:
    """One object; `missing` says which command makes which columns of which rows."""
    missing = [
        {
            "command": command,
            "cells": [
                {**dict(zip(table.headings, row.labels, strict=True)), "column": column.key}
                for row in table.rows
                for column in table.columns
                if number in table.marks(row.cells[column.key])
            ],
        }
        for number, command in enumerate(table.missing, 1)
    ]
    described = {"schema": "afdctl/1", "table": table.name, "title": table.title, "notes": table.notes}
    return json.dumps({**described, "rows": records(table), "missing": missing}, allow_nan=False) + "\n"


def as_parquet(table: Table) -> bytes:
    """The records; title, notes and missing commands are the schema's metadata."""
    told = {"title": table.title, "notes": "\n".join(table.notes), "missing": "\n".join(table.missing)}
    return parquet(records(table), told)


def _record(table: Table, row: Row, compared: bool) -> Record:
    made: Record = dict(zip(table.headings, row.labels, strict=True)) | {"runs": list(row.runs)}
    for column in table.columns:
        made |= _figure(column, row.cells[column.key], compared)
    return made


def _figure(column: Column, cell: Cell, compared: bool) -> Record:
    """A cell's figures under the names that its column gives them."""
    interval = cell.only.interval if cell.only else None
    counts = {one.n for one in cell.measured}
    beside = {
        "std": cell.std,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "n": counts.pop() if len(counts) == 1 else None,
    }
    made = {column.key: cell.value} | {f"{column.key}_{name}": beside[name] for name in BESIDE[column.kind]}
    if compared:
        made[f"{column.key}_published"] = cell.published
        if column.kind != "text":
            made[f"{column.key}_difference"] = cell.difference
    return made
