"""Which charts a run has, by what its journal holds: those of AFD, or what NT, AT, TRADES and matching report."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from afdctl.tui.drawing.axis import Floats, Range
from afdctl.tui.state.history import History

Transform = Callable[[Floats], Floats]


def half(values: Floats) -> Floats:
    """The discriminator's accuracy from alpha(h)."""
    return values / 2


def distance(values: Floats) -> Floats:
    """Eq. 6 on a mean of alpha(h): the absolute value comes last, as that of single batches is never near 0."""
    distances: Floats = np.minimum(2 * np.abs(values - 1), 2)
    return distances


@dataclass(frozen=True)
class CurveSpec:
    """One curve: a figure of the journal, its name on the screen, its colour, and what is done to its mean."""

    figure: str
    name: str
    colour: str
    transform: Transform | None = None
    right: bool = False
    band: bool = True
    least: float = 0.0


@dataclass(frozen=True)
class ChartSpec:
    """Curves that share axes. `fixed` and `right` are ranges that never change; `per` is what x counts."""

    key: str
    title: str
    about: str
    traces: tuple[CurveSpec, ...]
    fixed: Range | None = None
    right: Range | None = None
    goal: float | None = None
    per: str = "step"


UNIT = Range(0, 1)
LOSSES = (
    ChartSpec("L_C", "L_C", "classifier", (CurveSpec("L_C", "", "L_C"),)),
    ChartSpec("L_D", "L_D", "discriminator", (CurveSpec("L_D", "", "L_D"),)),
    ChartSpec("L_F", "L_F", "feature extractor", (CurveSpec("L_F", "", "L_F"),)),
    ChartSpec("kl", "KL", "p(x) against p(x')", (CurveSpec("kl", "", "L_D"),)),
    ChartSpec("sensitivity", "‖F(x) − F(x')‖", "sensitivity", (CurveSpec("sensitivity", "", "L_D"),)),
)


def game(history: History) -> ChartSpec:
    """D's accuracy and d_HΔH. A Wasserstein critic has no zero of its own, so there both are the calibrated ones."""
    estimate = estimate_of(history)
    alpha = "alpha_h_calibrated" if estimate == "calibrated" else "alpha_h"
    traces = (
        # means of alpha(h): a transform of the least and greatest of |.| would be another quantity
        CurveSpec(alpha, "acc", "good", half, band=False, least=0.9),
        CurveSpec(alpha, "d_HΔH", "d_hdh", distance, right=True, band=False, least=0.9),
    )
    return ChartSpec("D", "D accuracy", estimate, traces, UNIT, Range(0, 2), goal=0.5)


def estimate_of(history: History) -> str:
    """The name of the estimate of d_HΔH that fits the run's game."""
    game = history.table("defense").get("game")
    return "calibrated" if game == "wgan" and "alpha_h_calibrated" in history.series.names else "raw"


EXPECTED = {
    "afd": {"L_C", "L_D", "L_F", "alpha_h"},
    "natural": {"L_C", "acc_nat", "grad_C"},
    "adversarial": {"L_C", "acc_adv", "grad_C"},
    "trades": {"L_C", "kl", "acc_nat", "acc_adv"},
    "matching": {"L_C", "sensitivity", "acc_nat", "grad_C"},
}
"""What each defense will report: its charts are there, empty, before its first step."""


def of(history: History) -> list[ChartSpec]:
    """All charts of a run, the most telling first."""
    defense = history.table("defense").get("name")
    known = set(history.series.names) or EXPECTED.get(str(defense), set())
    charts = [chart for chart in LOSSES if chart.traces[0].figure in known]
    if "alpha_h" in known:
        charts.append(game(history))
    accuracies = [CurveSpec("acc_nat", "x", "good"), CurveSpec("acc_adv", "x'", "other")]
    seen = tuple(trace for trace in accuracies if trace.figure in known)
    if seen:
        charts.append(ChartSpec("accuracy", "accuracy", "on training batches", seen, UNIT))
    if history.validations.length:
        traces = tuple(
            CurveSpec(trace.figure, name, trace.colour, band=False)
            for trace, name in zip(accuracies, ("clean", "PGD"), strict=True)
        )
        if "acc_square" in history.validations.names:
            traces += (CurveSpec("acc_square", "Square", "d_hdh", band=False),)
        charts.append(ChartSpec("validation", "validation", "no AutoAttack", traces, UNIT, per="epoch"))
    gradients = tuple(
        CurveSpec(f"grad_{which}", which, f"L_{which}", band=which == "C")
        for which in "CDF"
        if f"grad_{which}" in known
    )
    if gradients:
        charts.append(ChartSpec("gradients", "‖∇L‖", "gradient norms", gradients))
    if "fraction_unchanged" in known:
        curves = (CurveSpec("fraction_unchanged", "", "warn"),)
        charts.append(ChartSpec("unchanged", "x' = x", "share of images", curves, UNIT))
    if "images_per_s" in known:
        charts.append(ChartSpec("speed", "images/s", "training", (CurveSpec("images_per_s", "", "other"),)))
    # the validation of a defense without a game is worth more than its batches
    order = ["validation", "accuracy"] if "alpha_h" not in known else []
    return sorted(charts, key=lambda chart: _rank(chart, order))


def _rank(chart: ChartSpec, first: list[str]) -> int:
    keys = [*(loss.key for loss in LOSSES), "D", *first, "validation", "accuracy", "gradients", "unchanged", "speed"]
    return keys.index(chart.key)


def matching(charts: list[ChartSpec], text: str) -> list[ChartSpec]:
    """The charts whose names hold the text, or all of them where none does."""
    wanted = text.casefold()
    found = [chart for chart in charts if wanted in f"{chart.key} {chart.title} {chart.about}".casefold()]
    return found if wanted and found else charts
