"""Table A4: non-zero features, and principal components that hold 99 % of their variance."""

from collections.abc import Iterator, Sequence
from functools import partial

from afdctl import events
from afdctl.export.grouping import method_place
from afdctl.export.tables import attacks, notes, paper, trained
from afdctl.export.tables.groups import Group, grouped
from afdctl.export.tables.measured import Measured, checkpoint_of
from afdctl.export.tables.missing import Need, word
from afdctl.export.tables.names import dataset_title
from afdctl.export.tables.table import Cell, Column, Row, Table
from afdctl.store.record import Record

PARTS = {"units": "units", "dims": "pca"}
"""Figure -> the analysis that it is of."""


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """The table in the paper's layout: a row a method, two columns a data set."""
    groups = grouped(records, "A4" if with_paper else "")
    rows = [_row(group, records, with_paper) for group in groups]
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    columns = tuple(
        Column(f"{dataset}_{figure}", f"{dataset_title(dataset)} {figure}", "count")
        for dataset in datasets
        for figure in PARTS
    )
    title = "Features that are not 0 for some test image (units), principal components with 99 % of the variance (dims)"
    return Table("A4", title, ("method",), columns, _by_method(rows, columns), tuple(_notes(rows, groups)))


def _row(group: Group, records: Sequence[Record], with_paper: bool) -> Row:
    """Units and dims of one data set and method."""
    known = paper.of_method("tableA4", group.dataset, group.method) if with_paper else {}
    cells = {
        figure: group.cell(partial(_measure, figure), partial(_need, figure, records), known.get(figure))
        for figure in PARTS
    }
    return Row((group.dataset, group.label), group.names, cells)


def _by_method(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    """Rows of the same label side by side, in the paper's order."""
    made = []
    for label in sorted(dict.fromkeys(row.labels[1] for row in rows), key=method_place):
        of_label = [row for row in rows if row.labels[1] == label]
        cells = {f"{row.labels[0]}_{figure}": cell for row in of_label for figure, cell in row.cells.items()}
        names = tuple(name for row in of_label for name in row.runs)
        made.append(Row((label,), names, {column.key: cells.get(column.key, Cell()) for column in columns}))
    return tuple(made)


def _measure(figure: str, record: Record) -> Measured | None:
    row = record.analyses.get(PARTS[figure])
    if row is None:
        return None
    return Measured(row["figures"][figure], row["n"], seed=row["seed"], checkpoint=checkpoint_of(record, row))


def _need(figure: str, records: Sequence[Record], record: Record) -> Need | None:
    if trained.unfinished(record):
        return trained.resumption(record)
    return Need("analyze", word(record.run), PARTS[figure], tuple(attacks.alike(record, records, _analysed)))


def _analysed(record: Record) -> events.Row | None:
    """What a run's other figure was counted on."""
    return next((record.analyses[part] for part in PARTS.values() if part in record.analyses), None)


def _notes(rows: Sequence[Row], groups: Sequence[Group]) -> Iterator[str]:
    columns = [Column(figure, figure, "count") for figure in PARTS]
    yield from notes.of_figures(columns, rows, groups)
    sizes = dict.fromkeys(
        f"{dataset_title(record.dataset)} {record.analyses['pca']['figures']['features']}"
        for group in groups
        for record in group.records
        if "pca" in record.analyses
    )
    if sizes:
        yield f"Features in all: {', '.join(sizes)}."
