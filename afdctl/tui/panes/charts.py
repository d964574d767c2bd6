"""The charts of a run: which ones there are, by the metrics in its journal."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from afdctl.descriptors import Loss
from afdctl.registry import LOSSES
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


@dataclass(frozen=True, kw_only=True)
class CurveSpec:
    """A curve: a metric, its colour, its name on screen, and a transform of its mean. `min_beta`: least smoothing."""

    metric: str
    colour: str
    name: str = ""
    transform: Transform | None = None
    right: bool = False
    band: bool = True
    min_beta: float = 0.0


@dataclass(frozen=True, kw_only=True)
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


def _loss_chart(metric: str, title: str, about: str, colour: str) -> ChartSpec:
    """Return the chart of one loss."""
    return ChartSpec(key=metric, title=title, about=about, curves=(CurveSpec(metric=metric, colour=colour),))


def loss_charts(history: History, metrics: set[str]) -> list[ChartSpec]:
    """Return the charts of the losses among the metrics: in the order of the defense, then the others."""
    others = [*LOSSES, *sorted(name for name in metrics if name.startswith("L_"))]
    names = [name for name in dict.fromkeys([*history.defense.losses, *others]) if name in metrics]
    losses = {name: LOSSES.get(name, Loss(name, "", name, "L_D")) for name in names}
    return [_loss_chart(name, loss.title, loss.about, loss.colour) for name, loss in losses.items()]


def discriminator_chart(history: History) -> ChartSpec:
    """Return the chart of D's accuracy and d_HΔH, calibrated for a Wasserstein critic, whose outputs have no zero."""
    estimate = estimate_of(history)
    alpha = "alpha_h_calibrated" if estimate == "calibrated" else "alpha_h"
    curves = (
        # no bands: the transform of the extremes of alpha(h) would be another quantity
        # always smoothed: alpha(h) of a single batch is too noisy to read
        CurveSpec(metric=alpha, name="acc", colour="good", transform=half, band=False, min_beta=0.9),
        CurveSpec(metric=alpha, name="d_HΔH", colour="d_hdh", transform=distance, right=True, band=False, min_beta=0.9),
    )
    return ChartSpec(
        key="D", title="D accuracy", about=estimate, curves=curves, fixed=UNIT, right=Range(0, 2), goal=0.5
    )


def estimate_of(history: History) -> str:
    """Return the name of the estimate of d_HΔH that fits the run's game."""
    game = history.table("defense").get("game")
    return "calibrated" if game == "wgan" and "alpha_h_calibrated" in history.series.names else "raw"


# after the losses
ORDER = ("D", "validation", "accuracy", "gradients", "unchanged", "speed")


def available_charts(history: History) -> list[ChartSpec]:
    """Return all charts of a run, most important first."""
    # before the first step the charts of the expected metrics are shown empty
    expected = {*history.defense.losses, *history.defense.metrics} if history.recipe else set()
    metrics = set(history.series.names) or expected
    losses = loss_charts(history, metrics)
    charts = []
    if "alpha_h" in metrics:
        charts.append(discriminator_chart(history))
    accuracies = [
        CurveSpec(metric="acc_nat", name="x", colour="good"),
        CurveSpec(metric="acc_adv", name="x'", colour="other"),
    ]
    logged = tuple(curve for curve in accuracies if curve.metric in metrics)
    if logged:
        about = "on training batches"
        charts.append(ChartSpec(key="accuracy", title="accuracy", about=about, curves=logged, fixed=UNIT))
    if history.validations.length:
        charts.append(_validation_chart(history))
    gradients = tuple(
        # three bands would cover each other
        CurveSpec(metric=f"grad_{loss}", name=loss, colour=f"L_{loss}" if loss in "CDF" else "other", band=loss == "C")
        for loss in dict.fromkeys(["C", "D", "F", *sorted(name[5:] for name in metrics if name.startswith("grad_"))])
        if f"grad_{loss}" in metrics
    )
    if gradients:
        charts.append(ChartSpec(key="gradients", title="‖∇L‖", about="gradient norms", curves=gradients))
    if "fraction_unchanged" in metrics:
        curves = (CurveSpec(metric="fraction_unchanged", colour="warn"),)
        about = "share of images"
        charts.append(ChartSpec(key="unchanged", title="unchanged", about=about, curves=curves, fixed=UNIT))
    if "images_per_s" in metrics:
        curves = (CurveSpec(metric="images_per_s", colour="other"),)
        charts.append(ChartSpec(key="speed", title="images/s", about="training", curves=curves))
    return [*losses, *sorted(charts, key=lambda chart: ORDER.index(chart.key))]


def _validation_chart(history: History) -> ChartSpec:
    curves = [
        CurveSpec(metric="acc_nat", name="clean", colour="good", band=False),
        CurveSpec(metric="acc_adv", name="APGD", colour="other", band=False),
    ]
    if "acc_probe" in history.validations.names:
        curves.append(CurveSpec(metric="acc_probe", name="probe", colour="d_hdh", band=False))
    about = "no AutoAttack"
    return ChartSpec(key="validation", title="validation", about=about, curves=tuple(curves), fixed=UNIT, per="epoch")


def filter_charts(charts: list[ChartSpec], text: str) -> list[ChartSpec]:
    """Return the charts whose names contain the text, or all if none does."""
    text = text.casefold()
    matching = [chart for chart in charts if text in f"{chart.key} {chart.title} {chart.about}".casefold()]
    # the text may be meant for the log alone
    return matching or charts
