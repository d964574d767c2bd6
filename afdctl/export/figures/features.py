"""Figures of the features: explained variance, activations, sensitivity (Figure A4) and norms."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from afdctl import registry
from afdctl.export.figures.page import (
    PANEL_WIDTH,
    TEXT_WIDTH,
    TITLES,
    PaperFigure,
    analysis_arrays,
    analysis_checkpoints,
    analysis_metrics,
    titles_of,
)
from afdctl.export.figures.style import (
    GREY,
    LineStyle,
    draw_curve,
    legend_line,
    line_styles,
    mean_over_runs,
    styled,
)
from afdctl.export.groups import Group, dataset_title, has_seeds, in_order, plot_groups
from afdctl.image_counts import format_n
from afdctl.runs.record import Record
from afdctl.runs.shards import Array

# of one quantity over the epsilons of an analysis: `median` and `std` over the test images
Summary = Mapping[str, Any]
NORMS: Final[Mapping[str, str]] = {
    "feature_norm": "Feature norm",
    "logit_scale": "Logit scale",
    "margin": "Margin",
}


@styled
def pca(records: Sequence[Record]) -> PaperFigure:
    """Draw the variance that the first k principal components explain, and mark how many explain 99 % of it."""
    page, panel, groups = _single_panel(records, "pca", "Cumulative variance of the features")
    share = analysis_metrics(groups[0].records[0], "pca")["share"]
    panel.axhline(100 * share, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    # x as a share of the panel's width, so that the text stays at the edge of a logarithmic axis
    across_axes = panel.get_yaxis_transform()
    panel.text(0.01, 100 * share - 1, f"{100 * share:g} %", transform=across_axes, va="top", color=GREY)
    _draw_counts(page, panel, groups, "pca", array="explained", count="dims", scale=100)
    # a few of the components explain most: a linear axis would press them against the left edge
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("Principal components")
    panel.set_ylabel("Variance explained (%)")
    return page


@styled
def units(records: Sequence[Record]) -> PaperFigure:
    """Draw each feature's largest activation over the test images in descending order, and mark how many are active."""
    page, panel, groups = _single_panel(records, "units", "Largest activation of each feature")
    _draw_counts(page, panel, groups, "units", array="largest", count="units")
    panel.set_ylim(bottom=0)
    panel.set_xlabel("Features, sorted")
    panel.set_ylabel(r"Largest $|z|$")
    return page


def _single_panel(records: Sequence[Record], analysis: str, title: str) -> tuple[PaperFigure, Axes, list[Group]]:
    groups = _analysed_groups(records, analysis)
    page = PaperFigure(f"{title} on {titles_of(groups)}", records, PANEL_WIDTH, 2.6)
    return page, page.subplots(), groups


def _draw_counts(
    page: PaperFigure,
    panel: Axes,
    groups: Sequence[Group],
    analysis: str,
    *,
    array: str,
    count: str,
    scale: float = 1,
) -> None:
    """Draw a curve per group, with its count marked on it and named in the legend."""
    styles, lines = line_styles(groups), dict[str, Line2D]()
    for group in groups:
        style = styles[group.label]
        curves = [_sorted(analysis_arrays(record, analysis)[array], analysis) for record in group.records]
        mean = mean_over_runs([dict(enumerate(map(float, curve), 1)) for curve in curves])
        assert mean, "a group has a run"
        line = draw_curve(panel, mean, style, group.label, scale)
        # a marker at each of hundreds of features would hide the line
        line.set_marker("none")
        counts = [analysis_metrics(record, analysis)[count] for record in group.records]
        _mark(panel, line, float(np.mean(counts)), style)
        lines[f"{group.label}: {_format_mean(counts, has_seeds(group.records))} {count}"] = legend_line(style)
    page.legend_above(lines, columns=2)
    n = format_n(record.analyses[analysis] for group in groups for record in group.records)
    marker = f"marker: number of {count}"
    page.caption(f"{titles_of(groups)} test split", n, marker, analysis_checkpoints(groups, analysis))


def _sorted(values: Array, analysis: str) -> Array:
    # explained variance is already in order
    return np.sort(values)[::-1] if analysis == "units" else values


def _format_mean(counts: Sequence[int], seeds: bool) -> str:
    """Format a count, or the mean of several runs, with its deviation where `seeds` differ."""
    if len(counts) == 1:
        return f"{counts[0]:,}"
    return f"{np.mean(counts):.1f}" + (f" ± {np.std(counts, ddof=1):.1f}" if seeds else "")


def _mark(panel: Axes, line: Line2D, count: float, style: LineStyle) -> None:
    """Put a marker on the line at x = count."""
    x, y = (np.asarray(values, float) for values in line.get_data())
    panel.plot(
        [count],
        [np.interp(count, x, y)],
        color=style.colour,
        marker=style.marker,
        markersize=4.5,
        zorder=4,
        clip_on=False,
    )


@styled
def sensitivity(records: Sequence[Record]) -> PaperFigure:
    """Draw Figure A4, a panel per data set: ||F(x) - F(x')||_2 / ||F(x)||_2, median and deviation over test images."""
    datasets = in_order((record.dataset for record in records), registry.DATASETS)
    groups_by_dataset = {
        name: _analysed_groups((record for record in records if record.dataset == name), "sensitivity")
        for name in datasets
    }
    groups = [group for dataset_groups in groups_by_dataset.values() for group in dataset_groups]
    width = TEXT_WIDTH if len(datasets) > 1 else PANEL_WIDTH
    page = PaperFigure(f"Feature sensitivity on {titles_of(groups)}", records, width, 2.2)
    panels = page.subplots(1, len(datasets), squeeze=False)[0]
    lines: dict[str, Line2D] = {}
    for panel, (name, dataset_groups) in zip(panels, groups_by_dataset.items(), strict=True):
        styles = line_styles(dataset_groups)
        panel.set_title(dataset_title(name), loc="left")
        for group in dataset_groups:
            lines |= _draw_medians(panel, group, "sensitivity", lambda metrics: metrics, styles[group.label])
        # narrow panels have no room for five labels
        _label(panel, ticks=5 - len(datasets) // 2)
        # sensitivity at epsilon 0 is 0
        panel.set(xlim=(0, None), ylim=(0, None))
    panels[0].set_ylabel("Feature sensitivity")
    page.legend_above(lines, columns=5 if len(datasets) > 1 else 3)
    page.caption("‖F(x) − F(x′)‖₂ / ‖F(x)‖₂", *_caption(groups, "sensitivity"))
    return page


@styled
def norms(records: Sequence[Record]) -> PaperFigure:
    """Draw feature norms, logit scales and margins over epsilon, with a dotted line for natural images."""
    groups = _analysed_groups(records, "norms")
    styles, lines = line_styles(groups), dict[str, Line2D]()
    page = PaperFigure(f"Feature norms, logit scales and margins on {titles_of(groups)}", records, TEXT_WIDTH, 2.2)
    for panel, (quantity, title) in zip(page.subplots(1, len(NORMS)), NORMS.items(), strict=True):
        panel.set_title(title, loc="left")
        for group in groups:
            drawn = _draw_medians(panel, group, "norms", itemgetter(quantity), styles[group.label])
            lines |= drawn
            for line in drawn.values():
                # the grid of norms starts with epsilon 0
                natural = np.asarray(line.get_ydata())[0]
                panel.axhline(natural, color=line.get_color(), linestyle=":", linewidth=0.7, zorder=1)
        _label(panel)
    page.legend_above(lines)
    page.caption(*_caption(groups, "norms"), "dotted: natural images", "feature norms before normalisation")
    return page


def _analysed_groups(records: Iterable[Record], analysis: str) -> list[Group]:
    return plot_groups(record for record in records if analysis in record.analyses)


def _draw_medians(
    panel: Axes, group: Group, analysis: str, quantity: Callable[[dict[str, Any]], Summary], style: LineStyle
) -> dict[str, Line2D]:
    """Draw the median over epsilon with error bars for the deviation over images and a band for that over runs.

    Draws nothing for runs that were analysed on grids without a common epsilon.
    """
    results = [analysis_metrics(record, analysis) for record in group.records]
    medians, deviations = (
        mean_over_runs(
            [dict(zip(metrics["epsilons"], quantity(metrics)[statistic], strict=True)) for metrics in results]
        )
        for statistic in ("median", "std")
    )
    if medians is None or deviations is None:
        return {}
    panel.errorbar(
        medians.x,
        medians.mean,
        deviations.mean,
        fmt="none",
        ecolor=style.colour,
        elinewidth=0.6,
        capsize=1.5,
        capthick=0.6,
        alpha=0.6,
    )
    return {group.label: draw_curve(panel, medians, style, group.label)}


def _label(panel: Axes, ticks: int = 5) -> None:
    panel.set_xlabel("Epsilon")
    panel.locator_params(axis="x", nbins=ticks)


def _caption(groups: Sequence[Group], analysis: str) -> list[str]:
    """Describe the images, the attack, and the bars and bands."""
    rows = [record.analyses[analysis] for group in groups for record in group.records]
    attacks = dict.fromkeys(TITLES.get(row["metrics"]["attack"], row["metrics"]["attack"]) for row in rows)
    runs = max(len(group.records) for group in groups)
    bands = f"bands: one standard deviation over up to {runs} runs" if runs > 1 else ""
    return [
        f"{titles_of(groups)} test split",
        ", ".join(attacks),
        f"median over images ({format_n(rows)})",
        "bars: one standard deviation over images",
        bands,
        analysis_checkpoints(groups, analysis),
    ]
