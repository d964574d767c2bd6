"""How trainings went: charts of losses, of the game and of the hold-out, from journals of any length."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from afdctl.export.report.chart import Chart, Floats, Line
from afdctl.journal import Row
from afdctl.runs.metric_history import MetricHistory
from afdctl.runs.record import Record

BUCKETS = 128
"""The most points of a line; each stands for equally many steps."""

LOSSES = {
    "L_C": "L_C: classification (Eq. 7)",
    "L_D": "L_D: discriminator (Eq. 9, 11)",
    "L_F": "L_F: feature (Eq. 10, 12)",
    "kl": "KL term of TRADES",
    "sensitivity": "Sensitivity term of matching",
}
HOLD_OUT = {
    "acc_nat": "Hold-out: clean accuracy (%)",
    "acc_adv": "Hold-out: PGD accuracy (%), no AutoAttack",
    "acc_square": "Hold-out: accuracy after PGD and Square (%), no AutoAttack",
}


@dataclass(frozen=True)
class TrainingSection:
    """What a run's journal says of its training; `series` holds its steps, `record` all else."""

    record: Record
    series: MetricHistory

    @property
    def steps_per_epoch(self) -> int:
        first: Row = next(iter(self.record.of_kind("run")), {})
        return int(first.get("steps_per_epoch") or 1)


def series(record: Record) -> MetricHistory:
    """The steps of a run in at most BUCKETS buckets, read in memory that does not grow with it."""
    return MetricHistory.of(record.read_rows(["step"]), BUCKETS)


def charts(trained: Sequence[TrainingSection]) -> list[Chart]:
    """A chart for each quantity that some run has, a line a run."""
    made = [_steps(title, trained, _mean(name), banded=name) for name, title in LOSSES.items()]
    made += [
        _steps("Discriminator's accuracy (%), chance 50", trained, _mean("d_accuracy"), share=True),
        _steps("d_HΔH of Eq. 6, from the mean of calibrated α(h)", trained, _divergence),
    ]
    made += [_epochs(title, trained, name) for name, title in HOLD_OUT.items()]
    return [chart for chart in made if chart.lines]


Figure = Callable[[MetricHistory], Floats | None]


def _mean(name: str) -> Figure:
    return lambda steps: steps.mean(name) if name in steps.names else None


def _divergence(steps: MetricHistory) -> Floats | None:
    """2 |α(h) - 1|, clipped to [0, 2]; of the mean of α(h), because the mean of |α(h) - 1| is never near 0."""
    alpha = _mean("alpha_h_calibrated")(steps)
    return None if alpha is None else np.clip(2 * np.abs(alpha - 1), 0, 2)


def _steps(
    title: str, trained: Sequence[TrainingSection], figure: Figure, *, banded: str | None = None, share: bool = False
) -> Chart:
    """The means of buckets of steps; a band between least and greatest where there is one run to see it of."""
    lines = []
    for number, one in enumerate(trained):
        values = figure(one.series)
        if values is None or not np.isfinite(values).any():
            continue
        low, high = one.series.band(banded) if banded and len(trained) == 1 else (None, None)
        x = one.series.steps() / one.steps_per_epoch
        lines.append(Line(one.record.name, number, x, values, low, high))
    return Chart(title, "epoch", lines, share=share)


def _epochs(title: str, trained: Sequence[TrainingSection], name: str) -> Chart:
    lines = []
    for number, one in enumerate(trained):
        rows = [row for row in one.record.of_kind("epoch") if row.get(name) is not None]
        if rows:
            x, y = (np.array([row[key] for row in rows], float) for key in ("epoch", name))
            lines.append(Line(one.record.name, number, x, y, marks=len(rows) < 30))
    return Chart(title, "epoch", lines, share=True)
