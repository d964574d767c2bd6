r"""A table for a paper: booktabs, so `\usepackage{booktabs}` is all that it needs."""

from collections.abc import Iterator, Sequence

from afdctl.export.tables.formats.text import DIGITS, headings, marked, texts
from afdctl.export.tables.table import Table

ESCAPES = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
    | {"ε": r"$\varepsilon$", "∞": r"$\infty$", "±": r"$\pm$", "−": "$-$", "–": "--", "→": r"$\rightarrow$"}
    | {raised: f"$^{{{chr(digit)}}}$" for digit, raised in DIGITS.items()}
    | {"˒": "$^{,}$"}
)


def render(table: Table) -> str:
    """A `table` environment: caption, tabular, and the notes below in small print."""
    columns = "".join("r" if number else "l" for number in table.numeric)
    opening = [r"\begin{table}", r"\centering", rf"\caption{{{escape(table.title)}.}}"]
    opening += [rf"\label{{tab:{table.name.lower()}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    body = [_line(headings(table)), r"\midrule", *_rows(table), r"\bottomrule", r"\end{tabular}"]
    notes = [rf"{note}\par" for note in _notes(table)]
    below = [r"\par\smallskip\footnotesize\raggedright", *notes] if notes else []
    return "\n".join([*opening, *body, *below, r"\end{table}", ""])


def escape(text: str) -> str:
    """The text without what TeX would take for a command, or has no letter for."""
    return text.translate(ESCAPES)


def _rows(table: Table) -> Iterator[str]:
    """The lines of all rows, with a rule where the data set changes."""
    for place, row in enumerate(table.rows):
        if place and len(row.labels) > 1 and row.labels[0] != table.rows[place - 1].labels[0]:
            yield r"\midrule"
        yield _line(texts(table, row))


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"


def _notes(table: Table) -> Iterator[str]:
    yield from map(escape, table.notes)
    for number, command in enumerate(table.missing, 1):
        # two hyphens would become a dash
        yield rf"{escape(marked([number]))} \texttt{{{escape(command).replace('--', '-{}-')}}}"
