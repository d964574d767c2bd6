"""Table A3: accuracy on images made against AT and TRADES."""

from collections.abc import Iterator, Sequence
from functools import partial

from afdctl.export.tables import attacks, nominal, notes, paper
from afdctl.export.tables.groups import Group, grouped
from afdctl.export.tables.names import dataset_title
from afdctl.export.tables.table import Cell, Column, Row, Table
from afdctl.profile.grid import name_of
from afdctl.store.record import Record

SOURCES = {"AT": Column("from_AT", "AT →", "share"), "TRADES": Column("from_TRADES", "TRADES →", "share")}
COLUMNS = tuple(SOURCES.values())


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """The table; NT is not in it, as in the paper."""
    groups = [group for group in grouped(records, "A3" if with_paper else "") if group.method != "NT"]
    rows = tuple(_row(group, records, with_paper) for group in groups)
    title = "Accuracy (%) on images that PGD-L∞ made against another model"
    return Table("A3", title, ("dataset", "method"), COLUMNS, rows, tuple(_notes(rows, groups, records)))


def _row(group: Group, records: Sequence[Record], with_paper: bool) -> Row:
    known = paper.of_method("tableA3", group.dataset, group.method) if with_paper else {}
    epsilon = nominal.linf(group.dataset, records)
    cells = {}
    for method, column in SOURCES.items():
        measure = partial(attacks.transferred, attack="pgd_linf", epsilon=epsilon, method=method, records=records)
        need = partial(attacks.transfer, attack="pgd_linf", epsilon=epsilon, method=method, records=records)
        # a model's own images would be a white-box attack
        own = method == group.method
        cells[column.key] = Cell() if own else group.cell(measure, need, known.get(column.key))
    return Row((group.dataset, group.label), group.names, cells)


def _notes(rows: Sequence[Row], groups: Sequence[Group], records: Sequence[Record]) -> Iterator[str]:
    datasets = dict.fromkeys(group.dataset for group in groups)
    used = [f"{dataset_title(dataset)} {name_of(nominal.linf(dataset, records))}" for dataset in datasets]
    yield f"ε: {'; '.join(used)}. Images made against {notes.sources(rows) or 'AT and TRADES'}."
    yield from notes.of_figures(COLUMNS, rows, groups)
    yield from notes.without_autoattack(rows, groups)
