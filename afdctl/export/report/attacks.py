"""How accurate runs are under attacks: tables and curves, by data set and norm."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from afdctl.evaluation.curves import RobustnessCurve, no_autoattack, robustness_curves
from afdctl.evaluation.statistics import other_grids
from afdctl.export.report.chart import Chart, Line
from afdctl.formatting import NORM_LABELS, format_range
from afdctl.runs.record import Record


@dataclass(frozen=True)
class Measured:
    """One row of a table: a run (by its number) under an attack."""

    run: int
    curve: RobustnessCurve


@dataclass(frozen=True)
class AttackSection:
    """The attacks of one norm on the runs of one data set; `black_box`: with images made against other runs."""

    dataset: str
    norm: str
    black_box: bool
    rows: list[Measured]

    @property
    def title(self) -> str:
        return f"{self.dataset}, {NORM_LABELS[self.norm]}" + (", black box" if self.black_box else "")

    @property
    def epsilons(self) -> list[float]:
        return sorted({epsilon for row in self.rows for epsilon in row.curve.epsilons})

    @property
    def by_attack(self) -> dict[str, list[Measured]]:
        """Attack -> its rows, AutoAttack last."""
        titles = dict.fromkeys(row.curve.title for row in sorted(self.rows, key=lambda row: row.curve.autoattack))
        return {title: [row for row in self.rows if row.curve.title == title] for title in titles}

    @property
    def images(self) -> str:
        """How many test images: `360`, or `100 to 360`."""
        return format_range(row.curve.n for row in self.rows)

    @property
    def warnings(self) -> list[tuple[int, str]]:
        """What checks say against the figures: the number of the run, and a line."""
        return list(dict.fromkeys((row.run, line) for row in self.rows for line in row.curve.warnings))

    @property
    def grids(self) -> str | None:
        """Whose areas do not compare."""
        return other_grids((row.curve.title, row.curve.epsilons) for row in self.rows)

    def charts(self, names: Sequence[str]) -> list[Chart]:
        """A chart an attack, a line a run, in Wilson's 95 % intervals."""
        return [
            Chart(f"{title}: accuracy (%)", "ε", [_line(row, names[row.run]) for row in rows], share=True)
            for title, rows in self.by_attack.items()
        ]


def attack_sections(records: Sequence[Record]) -> list[AttackSection]:
    """All that was measured: white box first, then black box."""
    found: dict[tuple[bool, str, str], list[Measured]] = {}
    for number, record in enumerate(records):
        for curve in robustness_curves(record):
            key = (curve.source is not None, record.dataset, curve.norm)
            found.setdefault(key, []).append(Measured(number, curve))
    order = sorted(found, key=lambda key: (key[0], key[1], list(NORM_LABELS).index(key[2])))
    return [
        AttackSection(dataset, norm, black_box, found[black_box, dataset, norm]) for black_box, dataset, norm in order
    ]


def missing(record: Record) -> str | None:
    """What was not measured, before the command that does it: nothing at all, or AutoAttack."""
    curves = robustness_curves(record)
    if not curves:
        return "not attacked yet"
    return "no AutoAttack: it may be less robust than this" if no_autoattack(curves) else None


def _line(row: Measured, name: str) -> Line:
    curve = row.curve
    bounds = np.array([interval or (np.nan, np.nan) for interval in curve.intervals])
    return Line(
        name, row.run, np.array(curve.epsilons), np.array(curve.accuracies), bounds[:, 0], bounds[:, 1], marks=True
    )
