"""Table A4: active features, and principal components that explain 99 % of their variance."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from afdctl.export.groups import (
    Gap,
    Group,
    analysis_gap,
    dataset_title,
    method_rank,
    table_groups,
)
from afdctl.export.tables import notes, paper
from afdctl.export.tables.base import Cell, Column, Row, Table
from afdctl.export.tables.paper import Measurement, checkpoint_of
from afdctl.runs.record import Record

# metric -> the analysis that computes it
ANALYSES: Final = {"units": "units", "dims": "pca"}


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """Build the table in the paper's layout: one row per method, two columns per data set."""
    groups = table_groups(records, with_paper)
    rows = [_row(group, with_paper) for group in groups]
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    columns = tuple(
        Column(f"{dataset}_{metric}", f"{dataset_title(dataset)} {metric}", "count")
        for dataset in datasets
        for metric in ANALYSES
    )
    title = (
        "Features that are non-zero for some test image (units), and principal components that explain 99 % of the "
        "variance (dims)"
    )
    return Table(
        name="A4",
        title=title,
        headings=("method",),
        columns=columns,
        rows=_by_method(rows, columns),
        notes=tuple(_notes(rows, groups)),
    )


def _row(group: Group, with_paper: bool) -> Row:
    """Build the units and dims of one data set and method."""
    published = paper.of_method("tableA4", group.dataset, group.method) if with_paper else {}

    def missing(record: Record) -> Gap:
        return analysis_gap(record, *ANALYSES.values())

    cells = {key: Cell.of_group(group, partial(_measure, key), missing, published.get(key)) for key in ANALYSES}
    return Row((group.dataset, group.label), group.names, cells)


def _by_method(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    """Join the rows of one label over all data sets, in the paper's order."""
    by_method = []
    for label in sorted(dict.fromkeys(row.labels[1] for row in rows), key=method_rank):
        of_label = [row for row in rows if row.labels[1] == label]
        cells = {f"{row.labels[0]}_{metric}": cell for row in of_label for metric, cell in row.cells.items()}
        names = tuple(name for row in of_label for name in row.runs)
        by_method.append(Row((label,), names, {column.key: cells.get(column.key, Cell()) for column in columns}))
    return tuple(by_method)


def _measure(metric: str, record: Record) -> Measurement | None:
    row = record.analyses.get(ANALYSES[metric])
    if row is None:
        return None
    return Measurement(row["metrics"][metric], n=row["n"], seed=row["seed"], checkpoint=checkpoint_of(record, row))


def _notes(rows: Sequence[Row], groups: Sequence[Group]) -> Iterator[str]:
    columns = [Column(metric, metric, "count") for metric in ANALYSES]
    yield from notes.of_measurements(columns, rows, groups)
    sizes = dict.fromkeys(
        f"{dataset_title(record.dataset)} {record.analyses['pca']['metrics']['features']}"
        for group in groups
        for record in group.records
        if "pca" in record.analyses
    )
    if sizes:
        yield f"Features in total: {', '.join(sizes)}."
