"""Compare what runs measured with published numbers: those of the same attack on the same grid, within a band."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import hypot, sqrt
from typing import Final, Literal

from afdctl.errors import NotFoundError
from afdctl.export import baselines
from afdctl.export.baselines import PublishedNumber
from afdctl.export.groups import DATASETS, Gap, Group, commands, group_runs, in_order
from afdctl.export.tables.base import Cell, Column, Row, Table, build_table
from afdctl.export.tables.paper_bounds import ROUNDING, impossible_areas
from afdctl.recipe.defenses import AFD
from afdctl.runs.curves import accuracy_interval
from afdctl.runs.record import Record

Verdict = Literal["holds", "below", "above", "not compared"]
# the test images of each data set with published numbers, and the paper's trainings of each method
PUBLISHED_IMAGES: Final = 10_000
PAPER_SEEDS: Final = 3
# 97.5 % quantiles of Student's t at 1, 2, ... degrees of freedom; then the normal one
STUDENT_T: Final = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
NORMAL: Final = 1.96
# the discriminator of Tables 1, 2 and A3
DISCRIMINATOR: Final = "fc3-pd"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A published number and what runs that differ in their seed measured; `reason` says why there is no verdict.

    `source` is a table of the paper, or who published a baseline's number, at `address`. `measured` is the runs' mean,
    `band` the largest distance from `published` at which the number holds. All are shares in [0, 1]; those of Table 2
    are areas.
    """

    source: str
    labels: tuple[str, ...]
    number: str
    kind: str
    published: float
    runs: tuple[str, ...]
    measured: float | None = None
    band: float | None = None
    n: int | None = None
    verdict: Verdict = "not compared"
    reason: str = ""
    address: str = ""


@dataclass(frozen=True)
class Verification:
    """All comparisons of some runs, and the commands that measure what is missing.

    `unpublished` are the runs of which no number is published, each with the reason.
    """

    comparisons: tuple[Comparison, ...]
    missing: tuple[str, ...]
    unpublished: dict[str, str]

    @property
    def compared(self) -> list[Comparison]:
        return [comparison for comparison in self.comparisons if comparison.verdict != "not compared"]

    @property
    def outside(self) -> list[Comparison]:
        return [comparison for comparison in self.compared if comparison.verdict != "holds"]


def verify(records: Sequence[Record]) -> Verification:
    """Compare runs with Tables 1, 2 and A3 and with baselines; AFD with another discriminator with Table A5."""
    others = [record for record in records if _discriminator(record) not in (None, DISCRIMINATOR)]
    rest = [record for record in records if record not in others]
    tables = [*_tables(("1", "2", "A3"), rest), *_tables(("A5",), others)]
    comparisons: list[Comparison] = []
    gaps: list[Gap] = []
    for table in tables:
        # rows without runs are the paper's other methods
        for row in filter(lambda row: row.runs, table.rows):
            for column in table.columns:
                cell = row.cells[column.key]
                if isinstance(cell.published, float | int):
                    comparisons.append(_of_paper(table, row, column, cell, float(cell.published)))
                    gaps += cell.gaps
    for group in group_runs(rest):
        for number in baselines.numbers(group):
            comparisons.append(_of_baseline(group, number))
            gaps += () if number.reason else number.cell.gaps
    compared = {name for comparison in comparisons for name in comparison.runs}
    left = {record.name: why_unpublished(record.method, record.dataset) for record in records}
    unpublished = {name: reason for name, reason in left.items() if name not in compared}
    return Verification(tuple(comparisons), tuple(commands(gaps)), unpublished)


def why_unpublished(method: str, dataset: str) -> str:
    """Say that no number of a method on a data set is published."""
    return f"no published number is of {method} on {dataset}"


def _discriminator(record: Record) -> str | None:
    defense = record.recipe.defense if record.recipe else None
    return defense.discriminator if isinstance(defense, AFD) else None


def _tables(names: Sequence[str], records: Sequence[Record]) -> Iterator[Table]:
    # one data set at a time: titles of columns have the epsilon only where it is the same for all of a table's
    for dataset in in_order((record.dataset for record in records), DATASETS):
        for name in names:
            try:
                yield build_table(name, [record for record in records if record.dataset == dataset], with_paper=True)
            except NotFoundError:
                # no run of a method that the table has
                continue


def _of_paper(table: Table, row: Row, column: Column, cell: Cell, published: float) -> Comparison:
    found = Comparison(
        source=f"Table {table.name}",
        labels=row.labels,
        number=column.title.replace("{}", ""),
        kind=column.kind,
        published=published,
        runs=row.runs,
    )
    reason = _incomparable(table, row, column) or _unlike(cell, "not Table A2's attack or grid")
    return _compare(found, cell, reason, trainings=PAPER_SEEDS)


def _of_baseline(group: Group, number: PublishedNumber) -> Comparison:
    found = Comparison(
        source=number.row.by,
        labels=(group.dataset, group.label),
        number=number.title,
        kind="share",
        published=number.published,
        runs=group.names,
        address=number.row.source,
    )
    reason = number.reason or _unlike(number.cell, "not the published attack")
    return _compare(found, number.cell, reason, trainings=number.row.trainings)


def _compare(found: Comparison, cell: Cell, reason: str, *, trainings: int) -> Comparison:
    value = float(cell.value) if isinstance(cell.value, float | int) else None
    if reason or value is None:
        return replace(found, measured=value, reason=reason)
    band = band_of(cell, found.published, area=found.kind == "area", trainings=trainings)
    distance = value - found.published
    verdict: Verdict = "holds" if abs(distance) <= band else "below" if distance < 0 else "above"
    n = min((measurement.n for measurement in cell.measurements if measurement.n), default=None)
    return replace(found, measured=value, band=band, n=n, verdict=verdict)


def _incomparable(table: Table, row: Row, column: Column) -> str:
    """Say why no run can give a number of the paper; empty where one can."""
    if table.name == "2":
        method = row.labels[1].partition(" ")[0]
        for area in impossible_areas():
            if (area.dataset, area.method, area.attack) == (row.labels[0], method, column.key):
                return f"Table A2's grid cannot give it: {area.reason}"
    return ""


def _unlike(cell: Cell, title: str) -> str:
    """Say what differs from the published measurement; empty for nothing."""
    if not cell.measurements:
        return "not measured"
    differing = dict.fromkeys(measurement.differing for measurement in cell.measurements if measurement.differing)
    # the published value in parentheses
    return f"{title}: {'; '.join(differing)}" if differing else ""


def band_of(cell: Cell, published: float, *, area: bool, trainings: int) -> float:
    """Return the largest distance from a published number that chance explains, at 95 %.

    It has both sides' test images and, with two seeds or more, the deviation over seeds of both means (Student's t).
    Published means of `trainings` have no deviation, so ours is taken for it.
    """
    # of all seeds the same test images, so more seeds do not narrow it
    ours = max(measurement.margin for measurement in cell.measurements)
    theirs = accuracy_interval(published, PUBLISHED_IMAGES).margin(published)
    seeds, count = 0.0, len(cell.measurements)
    if cell.std is not None:
        t = STUDENT_T[count - 2] if count - 2 < len(STUDENT_T) else NORMAL
        seeds = t * cell.std * sqrt(1 / count + 1 / trainings)
    return hypot(ours, theirs, seeds) + (ROUNDING if area else 0.0)
