"""Table A4: non-zero features, and principal components that hold 99 % of their variance."""

from collections.abc import Iterator, Sequence
from functools import partial

from afdctl.export import hints
from afdctl.export.groups import Group, dataset_title, grouped, method_rank, with_absent_methods
from afdctl.export.tables import notes, paper
from afdctl.export.tables.base import Cell, Column, Measured, Row, Table, checkpoint_of
from afdctl.store.record import Record

PARTS = {"units": "units", "dims": "pca"}
"""Figure -> the analysis that it is of."""


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """The table in the paper's layout: a row a method, two columns a data set."""
    groups = grouped(records)
    if with_paper:
        groups = with_absent_methods(groups)
    rows = [_row(group, with_paper) for group in groups]
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    columns = tuple(
        Column(f"{dataset}_{figure}", f"{dataset_title(dataset)} {figure}", "count")
        for dataset in datasets
        for figure in PARTS
    )
    title = "Features that are not 0 for some test image (units), principal components with 99 % of the variance (dims)"
    return Table(
        name="A4",
        title=title,
        headings=("method",),
        columns=columns,
        rows=_by_method(rows, columns),
        notes=tuple(_notes(rows, groups)),
    )


def _row(group: Group, with_paper: bool) -> Row:
    """Units and dims of one data set and method."""
    published = paper.of_method("tableA4", group.dataset, group.method) if with_paper else {}

    def gap(record: Record) -> hints.Gap:
        return hints.analyze(record, *PARTS.values())

    cells = {key: Cell.of_group(group, partial(_measure, key), gap, published.get(key)) for key in PARTS}
    return Row((group.dataset, group.label), group.names, cells)


def _by_method(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    """Rows of the same label side by side, in the paper's order."""
    made = []
    for label in sorted(dict.fromkeys(row.labels[1] for row in rows), key=method_rank):
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


def _notes(rows: Sequence[Row], groups: Sequence[Group]) -> Iterator[str]:
    columns = [Column(figure, figure, "count") for figure in PARTS]
    yield from notes.of_measurements(columns, rows, groups)
    sizes = dict.fromkeys(
        f"{dataset_title(record.dataset)} {record.analyses['pca']['figures']['features']}"
        for group in groups
        for record in group.records
        if "pca" in record.analyses
    )
    if sizes:
        yield f"Features in all: {', '.join(sizes)}."
