r"""Tables as text, Markdown, LaTeX, CSV, JSON and Parquet. The LaTeX needs `\usepackage{booktabs}`."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, Final

from afdctl.export.groups import dataset_title
from afdctl.export.parquet import parquet
from afdctl.export.tables.base import Cell, Column, Kind, Row, Table, Value

MISSING: Final = "–"
NOT_APPLICABLE: Final = "-"
# additional columns of a metric such as `pgd_linf_wb` in machine-readable formats: `pgd_linf_wb_std` and so on
EXTRA_COLUMNS: Final[dict[Kind, tuple[str, ...]]] = {
    "share": ("std", "low", "high", "n"),
    "area": ("std", "n"),
    "count": ("std", "n"),
    "seconds": ("std",),
    "ratio": (),
    "text": (),
}
LATEX_ESCAPES: Final = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
    | {"ε": r"$\varepsilon$", "∞": r"$\infty$", "±": r"$\pm$", "−": "$-$", "–": "--", "→": r"$\rightarrow$"}
)


def heading(table: Table) -> str:
    """Format the title: `Table 1. Accuracy ...`."""
    # the paper compares times in its text, not in a numbered table
    return f"{table.title}." if table.name == "cost" else f"Table {table.name}. {table.title}."


def headings(table: Table) -> list[str]:
    """List the column headings, those of the labels first."""
    return [*(label.capitalize() for label in table.headings), *(column.title for column in table.columns)]


def texts(table: Table, row: Row) -> list[str]:
    """Format the cells of a row, labels first."""
    cells = [_text(row.cells[column.key], column.kind) for column in table.columns]
    return [*map(dataset_title, row.labels), *cells]


def below(table: Table, code: str = "{}") -> list[str]:
    """List the lines under the table: its notes, then the commands that fill its gaps, each formatted by `code`."""
    commands = "; ".join(map(code.format, table.missing))
    return [*table.notes, f"To compute the missing values ({MISSING}): {commands}"] if commands else list(table.notes)


def as_markdown(table: Table) -> str:
    """Write Markdown with padded columns, so that it is readable as plain text."""
    titles, *rows = [headings(table), *(texts(table, row) for row in table.rows)]
    widths = [max(3, *map(len, column)) for column in zip(titles, *rows, strict=True)]
    rule = ["-" * (width - number) + ":" * number for width, number in zip(widths, table.numeric, strict=True)]
    lines = [_markdown_line(cells, widths, table.numeric) for cells in (titles, rule, *rows)]
    return "\n".join([f"**{heading(table)}**", "", *lines, "", *(f"- {line}" for line in below(table, "`{}`")), ""])


def as_latex(table: Table) -> str:
    """Write a `table` environment: caption, tabular, and the notes in small print."""
    columns = "".join("r" if number else "l" for number in table.numeric)
    opening = [r"\begin{table}", r"\centering", rf"\caption{{{escape_latex(table.title)}.}}"]
    opening += [rf"\label{{tab:{table.name.lower()}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    body = [_latex_line(headings(table)), r"\midrule", *_latex_rows(table), r"\bottomrule", r"\end{tabular}"]
    notes = [rf"{escape_latex(note)}\par" for note in table.notes]
    if table.missing:
        # two hyphens would become a dash
        commands = [rf"\texttt{{{escape_latex(command).replace('--', '-{}-')}}}" for command in table.missing]
        notes.append(rf"To compute the missing values ({escape_latex(MISSING)}): {'; '.join(commands)}\par")
    small_print = [r"\par\smallskip\footnotesize\raggedright", *notes] if notes else []
    return "\n".join([*opening, *body, *small_print, r"\end{table}", ""])


def escape_latex(text: str) -> str:
    """Escape characters that TeX reads as commands or has no glyph for."""
    return text.translate(LATEX_ESCAPES)


def as_csv(table: Table) -> str:
    """Write CSV with a header; run names are separated by spaces, a missing number is empty."""
    lines = StringIO()
    rows = [{**row, "runs": " ".join(row["runs"])} for row in flat_rows(table)]
    writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return lines.getvalue()


def as_json(table: Table) -> str:
    """Write one object; `missing` lists the commands that fill the gaps."""
    head = {"schema": "afdctl/1", "table": table.name, "title": table.title, "notes": table.notes}
    return json.dumps({**head, "rows": flat_rows(table), "missing": table.missing}, allow_nan=False) + "\n"


def as_parquet(table: Table) -> bytes:
    """Write the flat rows; title, notes and missing commands are in the schema's metadata."""
    metadata = {"title": table.title, "notes": "\n".join(table.notes), "missing": "\n".join(table.missing)}
    return parquet(flat_rows(table), metadata=metadata)


def flat_rows(table: Table) -> list[dict[str, Any]]:
    """Flatten each row to a dictionary of labels, runs and metrics; shares in [0, 1], None for a missing one."""
    compared = any(cell.published is not None for row in table.rows for cell in row.cells.values())
    rows = []
    for row in table.rows:
        flat: dict[str, Any] = dict(zip(table.headings, row.labels, strict=True)) | {"runs": list(row.runs)}
        for column in table.columns:
            flat |= _flat_cell(column, row.cells[column.key], compared)
        rows.append(flat)
    return rows


FORMATS: Final[Mapping[str, Callable[[Table], str | bytes]]] = {
    "md": as_markdown,
    "csv": as_csv,
    "json": as_json,
    "latex": as_latex,
    "parquet": as_parquet,
}
SUFFIXES: Final[Mapping[str, str]] = {
    ".md": "md",
    ".csv": "csv",
    ".json": "json",
    ".tex": "latex",
    ".latex": "latex",
    ".parquet": "parquet",
}
# formats that hold no notes, or where no reader sees them
WITHOUT_NOTES: Final = ("csv", "parquet")


def suffix(kind: str) -> str:
    """Return the default suffix of a format, such as `.tex` for latex."""
    return next(suffix for suffix, name in SUFFIXES.items() if name == kind)


def _text(cell: Cell, kind: Kind) -> str:
    """Format value, deviation, published value and difference: `95.72 ± 0.31 (97.68, −1.96)`."""
    placeholder = MISSING if cell.gaps else NOT_APPLICABLE
    text = placeholder if cell.value is None else _number(cell.value, kind)
    if cell.std is not None:
        text += f" ± {_number(cell.std, kind)}"
    if cell.published is None:
        return text
    difference = "" if cell.difference is None else f", {_number(cell.difference, kind, '+')}"
    return f"{text} ({_number(cell.published, kind)}{difference})"


def _number(value: Value, kind: Kind, sign: str = "") -> str:
    """Format a number with as many digits as in the paper, a share in percent."""
    if isinstance(value, str) or value is None:
        return value or NOT_APPLICABLE
    match kind:
        case "share":
            text = f"{100 * value:{sign}.2f}"
        case "count":
            text = f"{value:{sign}.4g}"
        case _:
            text = f"{value:{sign}.2f}"
    # a minus sign, which is as wide as a plus and never breaks a line
    return text.replace("-", "−")


def _markdown_line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = [
        (cell.rjust if right else cell.ljust)(width) for cell, width, right in zip(cells, widths, numeric, strict=True)
    ]
    # a run's name may contain the column separator
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in padded) + " |"


def _latex_rows(table: Table) -> Iterator[str]:
    """Yield the lines of all rows, with a rule where the data set changes."""
    for index, row in enumerate(table.rows):
        if index and len(row.labels) > 1 and row.labels[0] != table.rows[index - 1].labels[0]:
            yield r"\midrule"
        yield _latex_line(texts(table, row))


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(map(escape_latex, cells)) + r" \\"


def _flat_cell(column: Column, cell: Cell, compared: bool) -> dict[str, Any]:
    """Return a cell's numbers under names that start with the column's key."""
    interval = cell.only.interval if cell.only else None
    counts = {measurement.n for measurement in cell.measurements}
    extra = {
        "std": cell.std,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "n": counts.pop() if len(counts) == 1 else None,
    }
    flat = {column.key: cell.value} | {f"{column.key}_{name}": extra[name] for name in EXTRA_COLUMNS[column.kind]}
    if compared:
        flat[f"{column.key}_published"] = cell.published
        if column.kind != "text":
            flat[f"{column.key}_difference"] = cell.difference
    return flat
