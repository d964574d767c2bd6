"""The report's part on attacks: accuracy by data set and norm, as tables and charts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from afdctl.export.report.chart import Chart, Line
from afdctl.formatting import NORM_LABELS, format_range
from afdctl.runs.curves import RobustnessCurve, describe_mixed_grids, lacks_autoattack
from afdctl.runs.record import Record


@dataclass(frozen=True)
class MeasuredCurve:
    """One row of a table: the curve of a run, by its number, under an attack."""

    run: int
    curve: RobustnessCurve


@dataclass(frozen=True)
class AttackSection:
    """The attacks of one norm on the runs of one data set; `black_box`: with images made against another run."""

    dataset: str
    norm: str
    black_box: bool
    rows: list[MeasuredCurve]

    @property
    def title(self) -> str:
        return f"{self.dataset}, {NORM_LABELS[self.norm]}" + (", black box" if self.black_box else "")

    @property
    def epsilons(self) -> list[float]:
        return sorted({epsilon for row in self.rows for epsilon in row.curve.epsilons})

    @property
    def by_attack(self) -> dict[str, list[MeasuredCurve]]:
        """Attack -> its rows, AutoAttack last."""
        titles = dict.fromkeys(row.curve.title for row in sorted(self.rows, key=lambda row: row.curve.autoattack))
        return {title: [row for row in self.rows if row.curve.title == title] for title in titles}

    @property
    def images(self) -> str:
        """Number of test images: `360`, or `100 to 360`."""
        return format_range(row.curve.n for row in self.rows)

    @property
    def warnings(self) -> list[tuple[int, str]]:
        """Warnings of the sanity checks: the number of the run, and a line."""
        return list(dict.fromkeys((row.run, line) for row in self.rows for line in row.curve.warnings))

    @property
    def grids(self) -> str | None:
        """A note on attacks whose areas cannot be compared, because their grids differ."""
        return describe_mixed_grids((row.curve.title, row.curve.epsilons) for row in self.rows)

    def charts(self, names: Sequence[str]) -> list[Chart]:
        """Chart each attack, with a line per run and a band of its Wilson 95 % interval."""
        return [
            Chart(f"{title}: accuracy (%)", "ε", [_line(row, names[row.run]) for row in rows], share=True)
            for title, rows in self.by_attack.items()
        ]


def attack_sections(records: Sequence[Record]) -> list[AttackSection]:
    """Group all measured curves by data set and norm, white box first."""
    curves: dict[tuple[bool, str, str], list[MeasuredCurve]] = {}
    for number, record in enumerate(records):
        for curve in record.curves.values():
            key = (curve.source is not None, record.dataset, curve.norm)
            curves.setdefault(key, []).append(MeasuredCurve(number, curve))
    order = sorted(curves, key=lambda key: (key[0], key[1], list(NORM_LABELS).index(key[2])))
    return [
        AttackSection(dataset, norm, black_box, curves[black_box, dataset, norm]) for black_box, dataset, norm in order
    ]


def missing(record: Record) -> str | None:
    """Describe what was not measured: nothing at all, or AutoAttack; None if nothing is missing."""
    if not record.curves:
        return "not attacked yet"
    return "no AutoAttack; robust accuracy may be lower" if lacks_autoattack(record.curves.values()) else None


def _line(row: MeasuredCurve, name: str) -> Line:
    bounds = np.array(row.curve.intervals)
    return Line(
        label=name,
        colour=row.run,
        x=np.array(row.curve.epsilons),
        y=np.array(row.curve.accuracies),
        low=bounds[:, 0],
        high=bounds[:, 1],
        marks=True,
    )
