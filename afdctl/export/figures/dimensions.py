"""How many dimensions features take (Table A4): principal components, and units that are ever active."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from afdctl.export.figures.page import Page, among, arrays, checkpoints_of, datasets, figures
from afdctl.export.figures.style import GREY, Look, curve, key, looks, spread, styled
from afdctl.export.groups import Group, plot_groups
from afdctl.store.record import Record
from afdctl.sweep.figures import Array


@styled
def pca(records: Sequence[Record]) -> Page:
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
def units(records: Sequence[Record]) -> Page:
    """The greatest activation of each feature over the test images, the most active first, and how many have any."""
    page, panel, groups = _begin(records, "units", "Greatest activation of each feature")
    _draw(page, panel, groups, "units", "largest", "units")
    panel.set_ylim(bottom=0)
    panel.set_xlabel("Features, sorted")
    panel.set_ylabel(r"Greatest $|z|$")
    return page


def _begin(records: Sequence[Record], analysis: str, title: str) -> tuple[Page, Axes, list[Group]]:
    groups = plot_groups(record for record in records if analysis in record.analyses)
    page = Page(f"{title} on {datasets(groups)}", records, 3.4, 2.6)
    return page, page.subplots(), groups


def _draw(
    page: Page, panel: Axes, groups: Sequence[Group], analysis: str, array: str, count: str, scale: float = 1
) -> None:
    """A curve a group, its count marked on it and named in the legend."""
    styles, lines = looks(groups), dict[str, Line2D]()
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
    n = among(record.analyses[analysis]["n"] for group in groups for record in group.records)
    page.caption(f"{datasets(groups)} test split", n, f"marked: {count}", checkpoints_of(groups, analysis))


def _sorted(values: Array, analysis: str) -> Array:
    return np.sort(values)[::-1] if analysis == "units" else values


def _mean(counts: Sequence[int]) -> str:
    if len(counts) == 1:
        return f"{counts[0]:,}"
    return f"{np.mean(counts):.1f} ± {np.std(counts, ddof=1):.1f}"


def _mark(panel: Axes, line: Line2D, at: float, look: Look) -> Line2D:
    """The line as its legend shows it; the marker stands on it where the count is."""
    x, y = (np.asarray(values, float) for values in line.get_data())
    panel.plot(
        [at], [np.interp(at, x, y)], color=look.colour, marker=look.marker, markersize=4.5, zorder=4, clip_on=False
    )
    return key(look)
