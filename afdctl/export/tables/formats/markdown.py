"""A table for a README or an issue."""

from collections.abc import Sequence

from afdctl.export.tables.formats.text import below, heading, headings, texts
from afdctl.export.tables.table import Table


def render(table: Table) -> str:
    """Columns are padded, so that it can be read as it is too."""
    titles, *rows = [headings(table), *(texts(table, row) for row in table.rows)]
    widths = [max(3, *map(len, column)) for column in zip(titles, *rows, strict=True)]
    rule = ["-" * (width - number) + ":" * number for width, number in zip(widths, table.numeric, strict=True)]
    lines = [_line(cells, widths, table.numeric) for cells in (titles, rule, *rows)]
    notes = [f"- {note}" for note in below(table, "`{}`")]
    return "\n".join([f"**{heading(table)}**", "", *lines, "", *notes, ""])


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = [
        (cell.rjust if right else cell.ljust)(width) for cell, width, right in zip(cells, widths, numeric, strict=True)
    ]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in padded) + " |"
