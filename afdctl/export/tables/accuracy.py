"""Table 1: accuracy under attacks of nominal strength, white box and black box."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from afdctl.export.tables import attacks, nominal, notes, paper
from afdctl.export.tables.groups import Group, grouped
from afdctl.export.tables.measured import Measured, clean
from afdctl.export.tables.missing import Need
from afdctl.export.tables.names import dataset_title
from afdctl.export.tables.table import Column, Row, Table
from afdctl.profile.grid import name_of
from afdctl.store.record import Record


class Shot(NamedTuple):
    """A column: an attack, and whether its images are made against NT instead."""

    column: Column
    attack: str
    black_box: bool = False


CLEAN = Column("clean", "Clean", "share")
SHOTS = (
    Shot(Column("pgd_linf_wb", "PGD-L∞{} (WB)", "share"), "pgd_linf"),
    Shot(Column("cw_l2_wb", "C&W-L2{} (WB)", "share"), "cw"),
    Shot(Column("aa_linf_wb", "AA-L∞{} (WB)", "share"), "aa"),
    Shot(Column("pgd_linf_bb", "PGD-L∞{} (BB)", "share"), "pgd_linf", black_box=True),
    Shot(Column("cw_l2_bb", "C&W-L2{} (BB)", "share"), "cw", black_box=True),
)
"""Their titles have room for the epsilon."""


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """The table, with the paper's figures and its rows that no run was given for where they are wanted."""
    groups = grouped(records, "1" if with_paper else "")
    rows = [_row(group, records, with_paper) for group in groups]
    columns = (CLEAN, *(_titled(shot, groups, rows, records) for shot in SHOTS))
    return Table(
        "1",
        "Accuracy (%) on natural images, and under attacks of nominal strength",
        ("dataset", "method"),
        columns,
        tuple(rows),
        tuple(_notes(columns, rows, groups, records)),
    )


def _row(group: Group, records: Sequence[Record], with_paper: bool) -> Row:
    known = paper.of_method("table1", group.dataset, group.method) if with_paper else {}
    cells = {"clean": group.cell(clean, partial(attacks.sweep, attack="pgd_linf", records=records), known.get("clean"))}
    for shot in SHOTS:
        measure, need = partial(_measure, shot, records), partial(_need, shot, records)
        cells[shot.column.key] = group.cell(measure, need, known.get(shot.column.key))
    return Row((group.dataset, group.label), group.names, cells)


def _epsilon(shot: Shot, record: Record, records: Sequence[Record]) -> float:
    return nominal.l2(record.dataset) if shot.attack == "cw" else nominal.linf(record.dataset, records)


def _measure(shot: Shot, records: Sequence[Record], record: Record) -> Measured | None:
    epsilon = _epsilon(shot, record, records)
    if shot.black_box:
        return attacks.transferred(record, shot.attack, epsilon, "NT", records)
    return attacks.white_box(record, shot.attack, epsilon)


def _need(shot: Shot, records: Sequence[Record], record: Record) -> Need | None:
    epsilon = _epsilon(shot, record, records)
    if not shot.black_box:
        return attacks.sweep(record, shot.attack, records, epsilon)
    if record.method == "NT" and not attacks.sources(record, "NT", records):
        return None  # NT's own images would be a white-box attack
    return attacks.transfer(record, shot.attack, epsilon, "NT", records)


def _notes(
    columns: Sequence[Column], rows: Sequence[Row], groups: Sequence[Group], records: Sequence[Record]
) -> Iterator[str]:
    yield f"WB: white box. BB: black box, with images made against {notes.sources(rows) or 'an NT run'}."
    yield "ε: " + "; ".join(_strengths(groups, rows, records)) + "."
    yield from notes.of_figures(columns, rows, groups)
    yield from notes.without_autoattack(rows, groups, "aa_linf_wb")


def _titled(shot: Shot, groups: Sequence[Group], rows: Sequence[Row], records: Sequence[Record]) -> Column:
    """The shot's column, with its epsilon in the title where that is the same for all data sets."""
    used = {_strength(shot, dataset, groups, rows, records) for dataset in _datasets(groups)}
    epsilon = f" {used.pop()}" if len(used) == 1 else ""
    return replace(shot.column, title=shot.column.title.format(epsilon))


def _strength(shot: Shot, dataset: str, groups: Sequence[Group], rows: Sequence[Row], records: Sequence[Record]) -> str:
    """The epsilons that a column's figures on a data set were measured at, or would be."""
    here = [row for group, row in zip(groups, rows, strict=True) if group.dataset == dataset]
    wanted = nominal.l2(dataset) if shot.attack == "cw" else nominal.linf(dataset, records)
    return notes.strengths(here, shot.column.key) or name_of(wanted)


def _strengths(groups: Sequence[Group], rows: Sequence[Row], records: Sequence[Record]) -> Iterator[str]:
    """What each data set was attacked at: `MNIST L∞ 0.3, L2 1`."""
    for dataset in _datasets(groups):
        used = {
            norm: dict.fromkeys(
                _strength(shot, dataset, groups, rows, records)
                for shot in SHOTS
                if (shot.attack == "cw") == (norm == "L2")
            )
            for norm in ("L∞", "L2")
        }
        scaled = " (1, scaled as profile paper-A2 scales L2)" if dataset in nominal.L2 else ""
        told = ", ".join(f"{norm} {' and '.join(epsilons)}" for norm, epsilons in used.items())
        yield f"{dataset_title(dataset)} {told}{scaled}"


def _datasets(groups: Sequence[Group]) -> list[str]:
    return list(dict.fromkeys(group.dataset for group in groups))
