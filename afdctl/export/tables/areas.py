"""Table 2: areas under accuracy over epsilon, for nine attacks."""

from collections.abc import Iterator, Sequence
from functools import partial

from afdctl.export.tables import attacks, notes, paper
from afdctl.export.tables.groups import Group, grouped
from afdctl.export.tables.measured import Measured, area
from afdctl.export.tables.table import Column, Row, Table
from afdctl.store.record import Record

TITLES = {
    "pgd_linf": "PGD-L∞", "pgd_l2": "PGD-L2", "pgd_l1": "PGD-L1", "fgsm": "FGSM", "mim": "MIM", "ddn": "DDN",
    "deepfool": "DeepFool", "cw": "C&W", "aa": "AA",
}  # fmt: skip
COLUMNS = tuple(Column(attack, title, "area") for attack, title in TITLES.items())


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """The table, with the paper's figures and its rows that no run was given for where they are wanted."""
    groups = grouped(records, "2" if with_paper else "")
    rows = tuple(_row(group, records, with_paper) for group in groups)
    title = "Area under accuracy over ε: trapezoids over the grid, divided by its length (1 is perfect)"
    return Table("2", title, ("dataset", "method"), COLUMNS, rows, tuple(_notes(rows, groups)))


def _row(group: Group, records: Sequence[Record], with_paper: bool) -> Row:
    known = paper.of_method("table2", group.dataset, group.method) if with_paper else {}
    cells = {
        attack: group.cell(
            partial(_measure, attack), partial(attacks.sweep, attack=attack, records=records), known.get(attack)
        )
        for attack in TITLES
    }
    return Row((group.dataset, group.label), group.names, cells)


def _measure(attack: str, record: Record) -> Measured | None:
    curve = record.curves.get((attack, None))
    return area(record, curve) if curve else None


def _notes(rows: Sequence[Row], groups: Sequence[Group]) -> Iterator[str]:
    yield from notes.of_figures(COLUMNS, rows, groups)
    yield from notes.without_autoattack(rows, groups, "aa")
