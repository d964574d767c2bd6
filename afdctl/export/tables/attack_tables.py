"""Tables 1, 2 and A3: accuracy under attack."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from afdctl.export.groups import Gap, Group, dataset_title, quote_run, sweep_gap, table_groups
from afdctl.export.tables import notes, paper
from afdctl.export.tables.base import Cell, Column, Row, Table
from afdctl.export.tables.paired_notes import AA, PGD, paired_notes
from afdctl.export.tables.paper import Measurement, accuracy_at, area_under_curve, clean_accuracy
from afdctl.export.tables.transfers import source_runs, transfer_accuracy
from afdctl.export.union_notes import union_notes
from afdctl.formatting import format_epsilon
from afdctl.runs.record import Record
from afdctl.runs.summary import training_progress


@dataclass(frozen=True)
class AttackColumn(Column):
    """A column of Table 1. A black-box one uses images made against NT. `{}` in the title is the epsilon."""

    attack: str
    black_box: bool = False


CLEAN: Final = Column("clean", "Clean", "share")
TABLE_1: Final = (
    AttackColumn("pgd_linf_wb", "PGD-L∞{} (WB)", "share", attack="pgd_linf"),
    AttackColumn("cw_l2_wb", "C&W-L2{} (WB)", "share", attack="cw"),
    AttackColumn("aa_linf_wb", "AA-L∞{} (WB)", "share", attack="aa"),
    AttackColumn("pgd_linf_bb", "PGD-L∞{} (BB)", "share", attack="pgd_linf", black_box=True),
    AttackColumn("cw_l2_bb", "C&W-L2{} (BB)", "share", attack="cw", black_box=True),
)
TABLE_2: Final = tuple(
    Column(attack, title, "area")
    for attack, title in {
        "pgd_linf": "PGD-L∞",
        "pgd_l2": "PGD-L2",
        "pgd_l1": "PGD-L1",
        "fgsm": "FGSM",
        "mim": "MIM",
        "ddn": "DDN",
        "deepfool": "DeepFool",
        "cw": "C&W",
        "aa": "AA",
    }.items()
)
TABLE_A3: Final = {"AT": Column("from_AT", "AT →", "share"), "TRADES": Column("from_TRADES", "TRADES →", "share")}


def table_1(records: Sequence[Record], with_paper: bool) -> Table:
    """Build Table 1: accuracy under attacks at nominal epsilon, white box and black box."""
    groups = table_groups(records, with_paper)
    rows = []
    for group in groups:
        published = paper.of_method("table1", group.dataset, group.method) if with_paper else {}
        # any sweep measures clean accuracy
        clean_gap = partial(sweep_gap, attack="pgd_linf")
        cells = {"clean": Cell.of_group(group, clean_accuracy, clean_gap, published.get("clean"))}
        for column in TABLE_1:
            cells[column.key] = attack_cell(
                group,
                column.attack,
                epsilon=_nominal_epsilon(column, group.dataset, records),
                records=records,
                source="NT" if column.black_box else None,
                published=published.get(column.key),
            )
        rows.append(Row((group.dataset, group.label), group.names, cells))
    epsilons = {
        (group.dataset, column.key): _measured_epsilons(column, group.dataset, rows)
        or format_epsilon(_nominal_epsilon(column, group.dataset, records))
        for group in groups
        for column in TABLE_1
    }
    columns = (CLEAN, *(_with_epsilon(column, epsilons) for column in TABLE_1))
    return Table(
        name="1",
        title="Accuracy (%) on natural images and under attacks at nominal epsilon",
        headings=("dataset", "method"),
        columns=columns,
        rows=tuple(rows),
        notes=(
            f"WB: white box. BB: black box, with adversarial images made against {notes.sources(rows) or 'an NT run'}.",
            "ε: " + "; ".join(_format_epsilons(epsilons)) + ".",
            *notes.of_measurements(columns, rows, groups),
            *union_notes(record for group in groups for record in group.records),
            *notes.without_autoattack(rows, groups, "aa_linf_wb"),
            *paired_notes(groups, (AA, PGD), records),
        ),
    )


def table_2(records: Sequence[Record], with_paper: bool) -> Table:
    """Build Table 2: area under accuracy over epsilon, for nine attacks."""

    def measure(attack: str, record: Record) -> Measurement | None:
        curve = record.curves.get((attack, None))
        return area_under_curve(record, curve) if curve else None

    groups = table_groups(records, with_paper)
    rows = []
    for group in groups:
        published = paper.of_method("table2", group.dataset, group.method) if with_paper else {}
        cells = {
            attack: Cell.of_group(
                group, partial(measure, attack), partial(sweep_gap, attack=attack), published.get(attack)
            )
            for attack in (column.key for column in TABLE_2)
        }
        rows.append(Row((group.dataset, group.label), group.names, cells))
    return Table(
        name="2",
        title="Area under accuracy over ε (trapezoidal rule), normalised by the length of the ε grid",
        headings=("dataset", "method"),
        columns=TABLE_2,
        rows=tuple(rows),
        notes=(*notes.of_measurements(TABLE_2, rows, groups), *notes.without_autoattack(rows, groups, "aa")),
    )


def table_a3(records: Sequence[Record], with_paper: bool) -> Table:
    """Build Table A3: accuracy on images made against AT and TRADES; without NT, as in the paper."""
    groups = [group for group in table_groups(records, with_paper) if group.method != "NT"]
    rows = []
    for group in groups:
        published = paper.of_method("tableA3", group.dataset, group.method) if with_paper else {}
        cells = {}
        for method, column in TABLE_A3.items():
            if method == group.method:
                # images made against the model itself would be a white-box attack
                cells[column.key] = Cell()
                continue
            cells[column.key] = attack_cell(
                group,
                "pgd_linf",
                epsilon=paper.linf_epsilon(group.dataset, records),
                records=records,
                source=method,
                published=published.get(column.key),
            )
        rows.append(Row((group.dataset, group.label), group.names, cells))
    columns = tuple(TABLE_A3.values())
    epsilons = notes.epsilons_by_dataset(groups, records)
    return Table(
        name="A3",
        title="Accuracy (%) on images that PGD-L∞ made against another model (transfer attack)",
        headings=("dataset", "method"),
        columns=columns,
        rows=tuple(rows),
        notes=(
            f"ε: {epsilons}. Adversarial images made against {notes.sources(rows) or 'AT and TRADES'}.",
            *notes.of_measurements(columns, rows, groups),
            *notes.without_autoattack(rows, groups),
        ),
    )


def attack_cell(
    group: Group,
    attack: str,
    *,
    epsilon: float,
    records: Sequence[Record],
    source: str | None,
    published: float | None,
) -> Cell:
    """Measure a group under an attack at one epsilon; `source` is the method that the images are made against."""

    def measure(record: Record) -> Measurement | None:
        if source:
            return transfer_accuracy(record, attack, epsilon, source, records)
        curve = record.curves.get((attack, None))
        return accuracy_at(record, curve, epsilon) if curve else None

    def missing(record: Record) -> Gap | None:
        options = "" if paper.on_grid(record.dataset, attack, epsilon) else f" --epsilons 0,{format_epsilon(epsilon)}"
        if source:
            # of an unfinished training, the images would be made on no network of this method
            sources = [run for run in source_runs(record, source, records) if training_progress(run) is None]
            if record.method == source and not sources:
                # images made against the run itself would be a white-box attack
                return None
            options = f" --from {quote_run(sources[0].run) if sources else f'{source}_RUN'}{options}"
        return sweep_gap(record, attack, options)

    return Cell.of_group(group, measure, missing, published)


def _nominal_epsilon(column: AttackColumn, dataset: str, records: Sequence[Record]) -> float:
    return paper.l2_epsilon(dataset) if column.attack == "cw" else paper.linf_epsilon(dataset, records)


def _measured_epsilons(column: AttackColumn, dataset: str, rows: Sequence[Row]) -> str:
    """Join the epsilons that a column was measured at on a data set; empty for none."""
    cells = [row.cells[column.key] for row in rows if row.labels[0] == dataset]
    epsilons = {measurement.epsilon for cell in cells for measurement in cell.measurements if measurement.epsilon}
    return " and ".join(map(format_epsilon, sorted(epsilons)))


def _with_epsilon(column: AttackColumn, epsilons: dict[tuple[str, str], str]) -> Column:
    """Put the epsilon into the column's title where it is the same for all data sets."""
    used = {epsilon for (_, key), epsilon in epsilons.items() if key == column.key}
    return replace(column, title=column.title.format(f" {used.pop()}" if len(used) == 1 else ""))


def _format_epsilons(epsilons: dict[tuple[str, str], str]) -> Iterator[str]:
    """Yield the epsilons of each data set: `MNIST L∞ 0.3, L2 1`."""
    l2_keys = {column.key for column in TABLE_1 if column.attack == "cw"}
    for dataset in dict.fromkeys(dataset for dataset, _ in epsilons):
        by_column = {key: epsilon for (name, key), epsilon in epsilons.items() if name == dataset}
        linf = " and ".join(dict.fromkeys(epsilon for key, epsilon in by_column.items() if key not in l2_keys))
        l2 = " and ".join(dict.fromkeys(epsilon for key, epsilon in by_column.items() if key in l2_keys))
        scaled = " (the paper's 1, scaled to this image size)" if dataset in paper.L2 else ""
        yield f"{dataset_title(dataset)} L∞ {linf}, L2 {l2}{scaled}"
