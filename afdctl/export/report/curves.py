"""The report's curves: trainings over steps and epochs, and attacks over epsilon, the latter also as tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from afdctl.export.report.chart import Chart, Floats, Line
from afdctl.formatting import NORM_LABELS
from afdctl.image_counts import describe_images
from afdctl.journal import Row
from afdctl.registry import LOSSES
from afdctl.runs import results_file
from afdctl.runs.curves import RobustnessCurve, describe_mixed_grids
from afdctl.runs.metric_history import MetricHistory
from afdctl.runs.record import Record

# points of a line; each is the mean of equally many steps
MAX_BUCKETS = 128

HOLD_OUT = {
    "acc_nat": "Hold-out: clean accuracy (%)",
    "acc_adv": "Hold-out: accuracy under APGD-CE (%), no AutoAttack",
    "acc_probe": "Hold-out: accuracy under the probe (%), no AutoAttack",
}


@dataclass(frozen=True)
class TrainingSection:
    """A run's training as the page shows it: `history` holds its steps, `record` its other events."""

    record: Record
    history: MetricHistory

    @property
    def steps_per_epoch(self) -> int:
        header: Row = next(iter(self.record.of_kind("run")), {})
        # without its first row, the axis counts steps in place of epochs
        return int(header.get("steps_per_epoch") or 1)


def step_history(record: Record) -> MetricHistory:
    """Read the steps of a run into at most MAX_BUCKETS buckets, in memory that does not grow with the journal."""
    tables = results_file.step_tables(record.run, record.outline) if record.outline else ()
    return MetricHistory.of(tables, MAX_BUCKETS)


def training_charts(sections: Sequence[TrainingSection]) -> list[Chart]:
    """Chart each metric that some run has, with a line per run."""
    all_charts = [_step_chart(title, sections, _mean(name), band_of=name) for name, title in _losses(sections).items()]
    all_charts += [
        _step_chart("Discriminator accuracy (%), chance 50", sections, _mean("d_accuracy"), share=True),
        _step_chart("d_HΔH of Eq. 6, from the mean of calibrated α(h)", sections, _divergence),
    ]
    all_charts += [_epoch_chart(title, sections, name) for name, title in HOLD_OUT.items()]
    return [chart for chart in all_charts if chart.lines]


def _losses(sections: Sequence[TrainingSection]) -> dict[str, str]:
    """Map the losses of all runs to the titles of their charts; a user's loss is called by its name."""
    names = [name for section in sections for name in section.history.names if name.startswith("L_")]
    own = [name for section in sections if section.record.recipe for name in section.record.recipe.descriptor.losses]
    return {name: LOSSES[name].report if name in LOSSES else name for name in dict.fromkeys([*own, *LOSSES, *names])}


# the values of a metric by bucket; None for a run without it
Metric = Callable[[MetricHistory], Floats | None]


def _mean(name: str) -> Metric:
    return lambda history: history.mean(name) if name in history.names else None


def _divergence(history: MetricHistory) -> Floats | None:
    """Return 2 |α(h) - 1| of the mean of α(h), clipped to [0, 2]; the mean of |α(h) - 1| is never near 0."""
    alpha = _mean("alpha_h_calibrated")(history)
    return None if alpha is None else np.clip(2 * np.abs(alpha - 1), 0, 2)


def _step_chart(
    title: str,
    sections: Sequence[TrainingSection],
    metric: Metric,
    *,
    band_of: str | None = None,
    share: bool = False,
) -> Chart:
    """Chart the means of buckets of steps. A single run has a band from the smallest to the largest value."""
    lines = []
    for number, section in enumerate(sections):
        values = metric(section.history)
        if values is None or not np.isfinite(values).any():
            continue
        # the bands of several runs would cover each other's lines
        low, high = section.history.band(band_of) if band_of and len(sections) == 1 else (None, None)
        epochs = section.history.steps() / section.steps_per_epoch
        lines.append(Line(label=section.record.name, colour=number, x=epochs, y=values, low=low, high=high))
    return Chart(title, "epoch", lines, share=share)


def _epoch_chart(title: str, sections: Sequence[TrainingSection], name: str) -> Chart:
    lines = []
    for number, section in enumerate(sections):
        rows = [row for row in section.record.of_kind("epoch") if row.get(name) is not None]
        if rows:
            x, y = (np.array([row[key] for row in rows], float) for key in ("epoch", name))
            lines.append(Line(label=section.record.name, colour=number, x=x, y=y, marks=len(rows) < 30))
    return Chart(title, "epoch", lines, share=True)


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
        # AutoAttack is the number to report; a reader looks for it in the last line
        titles = dict.fromkeys(row.curve.title for row in sorted(self.rows, key=lambda row: row.curve.autoattack))
        return {title: [row for row in self.rows if row.curve.title == title] for title in titles}

    @property
    def images(self) -> str:
        """Number and choice of the test images: `100 of 360 test images, random sample`."""
        return describe_images(row.curve.cells[0] for row in self.rows)

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
            Chart(f"{title}: accuracy (%)", "ε", [_accuracy_line(row, names[row.run]) for row in rows], share=True)
            for title, rows in self.by_attack.items()
        ]


def attack_sections(records: Sequence[Record]) -> list[AttackSection]:
    """Group all measured curves by data set and norm, white box first."""
    curves: dict[tuple[bool, str, str], list[MeasuredCurve]] = {}
    for number, record in enumerate(records):
        for curve in record.curves.values():
            # a black-box accuracy is only an upper bound on robust accuracy, so it has a table of its own
            key = (curve.source is not None, record.dataset, curve.norm)
            curves.setdefault(key, []).append(MeasuredCurve(number, curve))
    order = sorted(curves, key=lambda key: (key[0], key[1], list(NORM_LABELS).index(key[2])))
    return [
        AttackSection(dataset, norm, black_box, curves[black_box, dataset, norm]) for black_box, dataset, norm in order
    ]


def _accuracy_line(row: MeasuredCurve, name: str) -> Line:
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
