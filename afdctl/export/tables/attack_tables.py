"""Tables 1, 2 and A3: accuracy under attack."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from afdctl import recipe as recipes
from afdctl.errors import AfdctlError
from afdctl.export import hints
from afdctl.export.groups import Group, dataset_title, grouped, with_absent_methods
from afdctl.export.hints import Gap
from afdctl.export.tables import notes, paper
from afdctl.export.tables.base import Cell, Column, Measured, Row, Table, area, at, clean
from afdctl.formatting import format_epsilon
from afdctl.runs.record import Record, method_of
from afdctl.runs.run import Run


class AttackColumn(NamedTuple):
    """A column of Table 1; a black-box one uses images made against NT. The title has room for the epsilon."""

    column: Column
    attack: str
    black_box: bool = False


CLEAN: Final = Column("clean", "Clean", "share")
TABLE_1: Final = (
    AttackColumn(Column("pgd_linf_wb", "PGD-L∞{} (WB)", "share"), "pgd_linf"),
    AttackColumn(Column("cw_l2_wb", "C&W-L2{} (WB)", "share"), "cw"),
    AttackColumn(Column("aa_linf_wb", "AA-L∞{} (WB)", "share"), "aa"),
    AttackColumn(Column("pgd_linf_bb", "PGD-L∞{} (BB)", "share"), "pgd_linf", black_box=True),
    AttackColumn(Column("cw_l2_bb", "C&W-L2{} (BB)", "share"), "cw", black_box=True),
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
    """Build Table 1: accuracy under attacks of nominal strength, white box and black box."""
    groups = _groups(records, with_paper)
    rows = []
    for group in groups:
        published = paper.of_method("table1", group.dataset, group.method) if with_paper else {}
        clean_gap = partial(hints.sweep, attack="pgd_linf")
        cells = {"clean": Cell.of_group(group, clean, clean_gap, published.get("clean"))}
        for shot in TABLE_1:
            key, epsilon = shot.column.key, _nominal(shot, group.dataset, records)
            source = "NT" if shot.black_box else None
            cells[key] = attack_cell(group, shot.attack, epsilon, records, source, published.get(key))
        rows.append(Row((group.dataset, group.label), group.names, cells))
    epsilons = {
        (group.dataset, shot.column.key): _measured_epsilons(shot, group.dataset, rows)
        or format_epsilon(_nominal(shot, group.dataset, records))
        for group in groups
        for shot in TABLE_1
    }
    columns = (CLEAN, *(_with_epsilon(shot, epsilons) for shot in TABLE_1))
    return Table(
        name="1",
        title="Accuracy (%) on natural images, and under attacks of nominal strength",
        headings=("dataset", "method"),
        columns=columns,
        rows=tuple(rows),
        notes=(
            f"WB: white box. BB: black box, with images made against {notes.sources(rows) or 'an NT run'}.",
            "ε: " + "; ".join(_epsilons_in_words(epsilons)) + ".",
            *notes.of_measurements(columns, rows, groups),
            *notes.without_autoattack(rows, groups, "aa_linf_wb"),
        ),
    )


def table_2(records: Sequence[Record], with_paper: bool) -> Table:
    """Build Table 2: areas under accuracy over epsilon, for nine attacks."""

    def measure(attack: str, record: Record) -> Measured | None:
        curve = record.curves.get((attack, None))
        return area(record, curve) if curve else None

    groups = _groups(records, with_paper)
    rows = []
    for group in groups:
        published = paper.of_method("table2", group.dataset, group.method) if with_paper else {}
        cells = {
            attack: Cell.of_group(
                group, partial(measure, attack), partial(hints.sweep, attack=attack), published.get(attack)
            )
            for attack in (column.key for column in TABLE_2)
        }
        rows.append(Row((group.dataset, group.label), group.names, cells))
    return Table(
        name="2",
        title="Area under accuracy over ε: trapezoids over the grid, divided by its length (1 is perfect)",
        headings=("dataset", "method"),
        columns=TABLE_2,
        rows=tuple(rows),
        notes=(*notes.of_measurements(TABLE_2, rows, groups), *notes.without_autoattack(rows, groups, "aa")),
    )


def table_a3(records: Sequence[Record], with_paper: bool) -> Table:
    """Build Table A3: accuracy on images made against AT and TRADES; without NT, as in the paper."""
    groups = [group for group in _groups(records, with_paper) if group.method != "NT"]
    rows = []
    for group in groups:
        published = paper.of_method("tableA3", group.dataset, group.method) if with_paper else {}
        epsilon = paper.linf(group.dataset, records)
        cells = {
            # a model's own images would be a white-box attack
            column.key: Cell()
            if method == group.method
            else attack_cell(group, "pgd_linf", epsilon, records, method, published.get(column.key))
            for method, column in TABLE_A3.items()
        }
        rows.append(Row((group.dataset, group.label), group.names, cells))
    columns = tuple(TABLE_A3.values())
    epsilons = notes.epsilons_by_dataset(groups, records)
    return Table(
        name="A3",
        title="Accuracy (%) on images that PGD-L∞ made against another model",
        headings=("dataset", "method"),
        columns=columns,
        rows=tuple(rows),
        notes=(
            f"ε: {epsilons}. Images made against {notes.sources(rows) or 'AT and TRADES'}.",
            *notes.of_measurements(columns, rows, groups),
            *notes.without_autoattack(rows, groups),
        ),
    )


def attack_cell(
    group: Group, attack: str, epsilon: float, records: Sequence[Record], source: str | None, published: float | None
) -> Cell:
    """Accuracy of a group under an attack at one epsilon; `source`: the method that the images are made against."""

    def measure(record: Record) -> Measured | None:
        if source:
            return _transferred(record, attack, epsilon, source, records)
        return at(record, record.curves.get((attack, None), []), epsilon)

    def gap(record: Record) -> Gap | None:
        options = "" if paper.on_grid(record.dataset, attack, epsilon) else f" --epsilons 0,{format_epsilon(epsilon)}"
        if source:
            others = _sources(record, source, records)
            if record.method == source and not others:
                return None  # its own images would be a white-box attack
            options = f" --from {hints.run_word(others[0].run) if others else f'{source}_RUN'}{options}"
        return hints.sweep(record, attack, options)

    return Cell.of_group(group, measure, gap, published)


def _groups(records: Sequence[Record], with_paper: bool) -> list[Group]:
    groups = grouped(records)
    return with_absent_methods(groups) if with_paper else groups


def _transferred(
    record: Record, attack: str, epsilon: float, method: str, records: Sequence[Record]
) -> Measured | None:
    """Accuracy on images made against a run of another method.

    Prefers a source among `records`, then one of the same seed, then more images, then the newest result.
    """
    given = {one.name: one for one in _sources(record, method, records)}
    candidates: list[tuple[tuple[bool, bool, int, float], Measured]] = []
    for (name, source), curve in record.curves.items():
        if name != attack or source is None or not (measured := at(record, curve, epsilon)):
            continue
        # a cell names its source without the method, which is in that run's recipe
        if _method_on_disk(record, source) == method:
            same_seed = source in given and given[source].seed == record.seed
            rank = (source in given, same_seed, curve[0]["n"], max(row["t"] for row in curve))
            candidates.append((rank, measured))
    return max(candidates, key=lambda candidate: candidate[0])[1] if candidates else None


def _sources(record: Record, method: str, records: Sequence[Record]) -> list[Record]:
    """The given runs of a method on the same data set, those of the run's own seed first."""
    path = record.run.path.resolve()
    others = [
        other
        for other in records
        if (other.dataset, other.method) == (record.dataset, method) and other.run.path.resolve() != path
    ]
    return sorted(others, key=lambda other: other.seed != record.seed)


def _method_on_disk(record: Record, source: str) -> str | None:
    """Method of the run that a transfer names, which is in the same folder; None if it is gone or damaged."""
    run = Run(record.run.path.resolve().parent / source)
    try:
        return method_of(recipes.loads(run.recipe_text) if run.recipe_text else None, run.name)
    except (AfdctlError, OSError):
        return None


def _nominal(shot: AttackColumn, dataset: str, records: Sequence[Record]) -> float:
    return paper.l2(dataset) if shot.attack == "cw" else paper.linf(dataset, records)


def _measured_epsilons(shot: AttackColumn, dataset: str, rows: Sequence[Row]) -> str:
    """The epsilons that a column was measured at on a data set; empty for none."""
    cells = [row.cells[shot.column.key] for row in rows if row.labels[0] == dataset]
    epsilons = {one.epsilon for cell in cells for one in cell.measured if one.epsilon}
    return " and ".join(map(format_epsilon, sorted(epsilons)))


def _with_epsilon(shot: AttackColumn, epsilons: dict[tuple[str, str], str]) -> Column:
    """The column, with its epsilon in the title where it is the same for all data sets."""
    used = {epsilon for (_, key), epsilon in epsilons.items() if key == shot.column.key}
    return replace(shot.column, title=shot.column.title.format(f" {used.pop()}" if len(used) == 1 else ""))


def _epsilons_in_words(epsilons: dict[tuple[str, str], str]) -> Iterator[str]:
    """The epsilons of each data set: `MNIST L∞ 0.3, L2 1`."""
    l2_keys = {shot.column.key for shot in TABLE_1 if shot.attack == "cw"}
    for dataset in dict.fromkeys(dataset for dataset, _ in epsilons):
        here = {key: epsilon for (name, key), epsilon in epsilons.items() if name == dataset}
        linf = " and ".join(dict.fromkeys(epsilon for key, epsilon in here.items() if key not in l2_keys))
        l2 = " and ".join(dict.fromkeys(epsilon for key, epsilon in here.items() if key in l2_keys))
        scaled = " (1, scaled as suite paper-A2 scales L2)" if dataset in paper.L2 else ""
        yield f"{dataset_title(dataset)} L∞ {linf}, L2 {l2}{scaled}"
