"""The charts of a run: which ones there are, by the metrics in its journal."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from afdctl.tui.drawing.axis import Floats, Range
from afdctl.tui.state.history import History

Transform = Callable[[Floats], Floats]


def half(values: Floats) -> Floats:
    """Return the discriminator's accuracy from alpha(h)."""
    return values / 2


def distance(values: Floats) -> Floats:
    """Eq. 6 on a mean of alpha(h). The absolute value comes last: its mean over batches is never near 0."""
    distances: Floats = np.minimum(2 * np.abs(values - 1), 2)
    return distances


@dataclass(frozen=True)
class CurveSpec:
    """A curve: a metric, its name on screen, its colour, and a transform of its mean. `min_beta`: least smoothing."""

    metric: str
    name: str
    colour: str
    transform: Transform | None = None
    right: bool = False
    band: bool = True
    min_beta: float = 0.0


@dataclass(frozen=True)
class ChartSpec:
    """Curves with common axes. `fixed` and `right` are constant ranges of y; `per` is the unit of x."""

    key: str
    title: str
    about: str
    curves: tuple[CurveSpec, ...]
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


def discriminator_chart(history: History) -> ChartSpec:
    """Return the chart of D's accuracy and d_HΔH, calibrated for a Wasserstein critic, whose outputs have no zero."""
    estimate = estimate_of(history)
    alpha = "alpha_h_calibrated" if estimate == "calibrated" else "alpha_h"
    curves = (
        # no bands: the transform of the extremes of alpha(h) would be another quantity
        CurveSpec(alpha, "acc", "good", half, band=False, min_beta=0.9),
        CurveSpec(alpha, "d_HΔH", "d_hdh", distance, right=True, band=False, min_beta=0.9),
    )
    return ChartSpec("D", "D accuracy", estimate, curves, UNIT, Range(0, 2), goal=0.5)


def estimate_of(history: History) -> str:
    """Return the name of the estimate of d_HΔH that fits the run's game."""
    game = history.table("defense").get("game")
    return "calibrated" if game == "wgan" and "alpha_h_calibrated" in history.series.names else "raw"


ORDER = (*(loss.key for loss in LOSSES), "D", "validation", "accuracy", "gradients", "unchanged", "speed")
# the metrics of each defense, whose charts are shown empty before the first step
EXPECTED = {
    "afd": {"L_C", "L_D", "L_F", "alpha_h"},
    "natural": {"L_C", "acc_nat", "grad_C"},
    "adversarial": {"L_C", "acc_adv", "grad_C"},
    "trades": {"L_C", "kl", "acc_nat", "acc_adv"},
    "matching": {"L_C", "sensitivity", "acc_nat", "grad_C"},
}


def available_charts(history: History) -> list[ChartSpec]:
    """Return all charts of a run, most important first."""
    defense = history.table("defense").get("name")
    metrics = set(history.series.names) or EXPECTED.get(str(defense), set())
    charts = [chart for chart in LOSSES if chart.curves[0].metric in metrics]
    if "alpha_h" in metrics:
        charts.append(discriminator_chart(history))
    accuracies = [CurveSpec("acc_nat", "x", "good"), CurveSpec("acc_adv", "x'", "other")]
    logged = tuple(curve for curve in accuracies if curve.metric in metrics)
    if logged:
        charts.append(ChartSpec("accuracy", "accuracy", "on training batches", logged, UNIT))
    if history.validations.length:
        charts.append(_validation_chart(history))
    gradients = tuple(
        CurveSpec(f"grad_{loss}", loss, f"L_{loss}", band=loss == "C") for loss in "CDF" if f"grad_{loss}" in metrics
    )
    if gradients:
        charts.append(ChartSpec("gradients", "‖∇L‖", "gradient norms", gradients))
    if "fraction_unchanged" in metrics:
        curves = (CurveSpec("fraction_unchanged", "", "warn"),)
        charts.append(ChartSpec("unchanged", "unchanged", "share of images", curves, UNIT))
    if "images_per_s" in metrics:
        charts.append(ChartSpec("speed", "images/s", "training", (CurveSpec("images_per_s", "", "other"),)))
    return sorted(charts, key=lambda chart: ORDER.index(chart.key))


def _validation_chart(history: History) -> ChartSpec:
    curves = [CurveSpec("acc_nat", "clean", "good", band=False), CurveSpec("acc_adv", "PGD", "other", band=False)]
    if "acc_square" in history.validations.names:
        curves.append(CurveSpec("acc_square", "Square", "d_hdh", band=False))
    return ChartSpec("validation", "validation", "no AutoAttack", tuple(curves), UNIT, per="epoch")


def filter_charts(charts: list[ChartSpec], text: str) -> list[ChartSpec]:
    """Return the charts whose names contain the text, or all if none does."""
    text = text.casefold()
    matching = [chart for chart in charts if text in f"{chart.key} {chart.title} {chart.about}".casefold()]
    return matching or charts
