"""How many dimensions features take (Table A4): principal components, and units that are ever active."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from afdctl import registry
from afdctl.evaluation.statistics import Array
from afdctl.export.figures.robustness import TITLES
from afdctl.export.figures.style import (
    GREY,
    WIDTH,
    LineStyle,
    PaperFigure,
    arrays,
    checkpoints_of,
    curve,
    datasets,
    figures,
    key,
    line_styles,
    spread,
    styled,
)
from afdctl.export.groups import Group, dataset_title, plot_groups
from afdctl.formatting import format_n
from afdctl.runs.record import Record


@styled
def pca(records: Sequence[Record]) -> PaperFigure:
    """The share of variance that the first k principal components hold, and how many hold 99 % of it."""
    page, panel, groups = _begin(records, "pca", "Cumulative variance of the features")
    share = figures(groups[0].records[0], "pca")["share"]
    panel.axhline(100 * share, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    place = panel.get_yaxis_transform()
    panel.text(0.01, 100 * share - 1, f"{100 * share:g} %", transform=place, va="top", color=GREY)
    _draw(page, panel, groups, "pca", "explained", "dims", scale=100)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("Principal components")
    panel.set_ylabel("Variance explained (%)")
    return page


@styled
def units(records: Sequence[Record]) -> PaperFigure:
    """The greatest activation of each feature over the test images, the most active first, and how many have any."""
    page, panel, groups = _begin(records, "units", "Greatest activation of each feature")
    _draw(page, panel, groups, "units", "largest", "units")
    panel.set_ylim(bottom=0)
    panel.set_xlabel("Features, sorted")
    panel.set_ylabel(r"Greatest $|z|$")
    return page


def _begin(records: Sequence[Record], analysis: str, title: str) -> tuple[PaperFigure, Axes, list[Group]]:
    groups = plot_groups(record for record in records if analysis in record.analyses)
    page = PaperFigure(f"{title} on {datasets(groups)}", records, 3.4, 2.6)
    return page, page.subplots(), groups


def _draw(
    page: PaperFigure, panel: Axes, groups: Sequence[Group], analysis: str, array: str, count: str, scale: float = 1
) -> None:
    """A curve a group, its count marked on it and named in the legend."""
    styles, lines = line_styles(groups), dict[str, Line2D]()
    for group in groups:
        look = styles[group.label]
        curves = [_sorted(arrays(record, analysis)[array], analysis) for record in group.records]
        over_runs = spread([dict(enumerate(map(float, one), 1)) for one in curves])
        assert over_runs, "a group has a run"
        line = curve(panel, over_runs, look, group.label, scale)
        line.set_marker("none")
        counts = [figures(record, analysis)[count] for record in group.records]
        lines[f"{group.label}: {_mean(counts)} {count}"] = _mark(panel, line, float(np.mean(counts)), look)
    page.legend_above(lines, columns=2)
    n = format_n(record.analyses[analysis]["n"] for group in groups for record in group.records)
    page.caption(f"{datasets(groups)} test split", n, f"marked: {count}", checkpoints_of(groups, analysis))


def _sorted(values: Array, analysis: str) -> Array:
    return np.sort(values)[::-1] if analysis == "units" else values


def _mean(counts: Sequence[int]) -> str:
    if len(counts) == 1:
        return f"{counts[0]:,}"
    return f"{np.mean(counts):.1f} ± {np.std(counts, ddof=1):.1f}"


def _mark(panel: Axes, line: Line2D, at: float, look: LineStyle) -> Line2D:
    """The line as its legend shows it; the marker stands on it where the count is."""
    x, y = (np.asarray(values, float) for values in line.get_data())
    panel.plot(
        [at], [np.interp(at, x, y)], color=look.colour, marker=look.marker, markersize=4.5, zorder=4, clip_on=False
    )
    return key(look)


Summary = Mapping[str, Any]
"""Of one quantity over the epsilons of an analysis: `median` and `std` over the test images."""
NORMS: Final[Mapping[str, str]] = {
    "feature_norm": "Feature norm",
    "logit_scale": "Logit scale",
    "margin": "Margin",
}


@styled
def sensitivity(records: Sequence[Record]) -> PaperFigure:
    """Figure A4: ||F(x) - F(x')||_2 / ||F(x)||_2, median and deviation over the test images; one panel a data set."""
    shown = [name for name in registry.DATASETS if any(name == record.dataset for record in records)]
    by_dataset = [_having((one for one in records if one.dataset == name), "sensitivity") for name in shown]
    groups = [group for of_dataset in by_dataset for group in of_dataset]
    page = PaperFigure(f"Feature sensitivity on {datasets(groups)}", records, WIDTH if len(shown) > 1 else 3.4, 2.2)
    panels = page.subplots(1, len(shown), squeeze=False)[0]
    lines: dict[str, Line2D] = {}
    for panel, name, of_dataset in zip(panels, shown, by_dataset, strict=True):
        styles = line_styles(of_dataset)
        panel.set_title(dataset_title(name), loc="left")
        for group in of_dataset:
            lines |= _draw_medians(panel, group, "sensitivity", lambda found: found, styles[group.label])
        _label(panel, ticks=5 - len(shown) // 2)
        # at epsilon 0 nothing moves
        panel.set(xlim=(0, None), ylim=(0, None))
    panels[0].set_ylabel("Feature sensitivity")
    page.legend_above(lines, columns=5 if len(shown) > 1 else 3)
    page.caption("‖F(x) − F(x′)‖ / ‖F(x)‖", *_about(groups, "sensitivity"))
    return page


@styled
def norms(records: Sequence[Record]) -> PaperFigure:
    """Feature norms, logit scales and margins over epsilon, natural images at 0 and as a dotted line."""
    groups = _having(records, "norms")
    styles, lines = line_styles(groups), dict[str, Line2D]()
    page = PaperFigure(f"Feature norms, logit scales and margins on {datasets(groups)}", records, WIDTH, 2.2)
    for panel, (quantity, title) in zip(page.subplots(1, len(NORMS)), NORMS.items(), strict=True):
        panel.set_title(title, loc="left")
        for group in groups:
            drawn = _draw_medians(panel, group, "norms", itemgetter(quantity), styles[group.label])
            lines |= drawn
            for line in drawn.values():
                natural = np.asarray(line.get_ydata())[0]
                panel.axhline(natural, color=line.get_color(), linestyle=":", linewidth=0.7, zorder=1)
        _label(panel)
    page.legend_above(lines)
    page.caption(*_about(groups, "norms"), "dotted: natural images", "norms before normalisation")
    return page


def _having(records: Iterable[Record], analysis: str) -> list[Group]:
    return plot_groups(record for record in records if analysis in record.analyses)


def _draw_medians(
    panel: Axes, group: Group, analysis: str, of: Callable[[dict[str, Any]], Summary], look: LineStyle
) -> dict[str, Line2D]:
    """The median of a group's runs over epsilon; bars are the deviation over images, a band is that over runs.

    Nothing is drawn of runs that were analysed on grids without a common epsilon.
    """
    found = [figures(record, analysis) for record in group.records]
    medians = spread([dict(zip(one["epsilons"], of(one)["median"], strict=True)) for one in found])
    deviations = spread([dict(zip(one["epsilons"], of(one)["std"], strict=True)) for one in found])
    if medians is None or deviations is None:
        return {}
    panel.errorbar(
        medians.x,
        medians.mean,
        deviations.mean,
        fmt="none",
        ecolor=look.colour,
        elinewidth=0.6,
        capsize=1.5,
        capthick=0.6,
        alpha=0.6,
    )
    return {group.label: curve(panel, medians, look, group.label)}


def _label(panel: Axes, ticks: int = 5) -> None:
    panel.set_xlabel("Epsilon")
    panel.locator_params(axis="x", nbins=ticks)


def _about(groups: Sequence[Group], analysis: str) -> list[str]:
    """The attack, how many images, and what bars and bands are."""
    rows = [record.analyses[analysis] for group in groups for record in group.records]
    attacks = dict.fromkeys(TITLES.get(row["figures"]["attack"], row["figures"]["attack"]) for row in rows)
    several = max(len(group.records) for group in groups)
    bands = f"bands: one standard deviation of up to {several} runs" if several > 1 else ""
    return [
        f"{datasets(groups)} test split",
        ", ".join(attacks),
        f"median of {format_n(row['n'] for row in rows)}, bars: one deviation",
        bands,
        checkpoints_of(groups, analysis),
    ]
