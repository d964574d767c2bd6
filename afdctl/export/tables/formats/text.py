"""Cells as people read them."""

from collections.abc import Sequence

from afdctl.export.tables.names import dataset_title
from afdctl.export.tables.table import Cell, Kind, Row, Table, Value

DIGITS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
MISSING = "–"
CANNOT_BE = "-"


def marked(numbers: Sequence[int]) -> str:
    """The numbers of commands, raised: `¹` or `¹˒³`."""
    return "˒".join(str(number).translate(DIGITS) for number in numbers)


def heading(table: Table) -> str:
    """`Table 1. Accuracy ...`."""
    return f"{table.title}." if table.name == "cost" else f"Table {table.name}. {table.title}."


def headings(table: Table) -> list[str]:
    """Over each column, the labels' first."""
    return [*(label.capitalize() for label in table.headings), *(column.title for column in table.columns)]


def texts(table: Table, row: Row) -> list[str]:
    """The row under the headings, marked with the numbers of the commands that make what is missing."""
    pairs = [(row.cells[column.key], column.kind) for column in table.columns]
    return [*map(dataset_title, row.labels), *(_text(cell, kind, marked(table.marks(cell))) for cell, kind in pairs)]


def below(table: Table, code: str = "{}") -> list[str]:
    """The lines under the table: its notes, and the commands by number, each put into `code`."""
    return [*table.notes, *(f"{marked([number])} {code.format(one)}" for number, one in enumerate(table.missing, 1))]


def _text(cell: Cell, kind: Kind, mark: str) -> str:
    """`95.72 ± 0.31 (97.68, −1.96)`: figure, deviation, the published one and the difference from it."""
    nothing = MISSING if cell.needs else CANNOT_BE
    shown = nothing if cell.value is None else _number(cell.value, kind)
    if cell.std is not None:
        shown += f" ± {_number(cell.std, kind)}"
    shown += mark
    if cell.published is None:
        return shown
    difference = "" if cell.difference is None else f", {_number(cell.difference, kind, '+')}"
    return f"{shown} ({_number(cell.published, kind)}{difference})"


def _number(value: Value, kind: Kind, sign: str = "") -> str:
    """A figure with as many digits as the paper gives it, a share in percent."""
    if isinstance(value, str) or value is None:
        return value or CANNOT_BE
    match kind:
        case "share":
            shown = f"{100 * value:{sign}.2f}"
        case "count":
            shown = f"{value:{sign}.4g}"
        case _:
            shown = f"{value:{sign}.2f}"
    return shown.replace("-", "−")
