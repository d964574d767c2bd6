"""The formats of a table: each a function from the table to the content of a file."""

from collections.abc import Callable, Mapping
from typing import Final

from afdctl.export.tables.formats import latex, markdown, records, text
from afdctl.export.tables.table import Table

__all__ = ["FORMATS", "SILENT", "SUFFIXES", "suffix", "text"]

FORMATS: Final[Mapping[str, Callable[[Table], str | bytes]]] = {
    "md": markdown.render,
    "csv": records.as_csv,
    "json": records.as_json,
    "latex": latex.render,
    "parquet": records.as_parquet,
}
SUFFIXES: Final[Mapping[str, str]] = {
    ".md": "md", ".csv": "csv", ".json": "json", ".tex": "latex", ".latex": "latex", ".parquet": "parquet",
}  # fmt: skip
SILENT: Final = ("csv", "parquet")
"""Formats that have no room for notes, or where nobody sees them."""


def suffix(kind: str) -> str:
    """The usual suffix of a format: `.tex` of latex."""
    return next(suffix for suffix, known in SUFFIXES.items() if known == kind)
