"""Figures A6 to A8: two-dimensional maps of natural and adversarial features."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from afdctl.export.figures.groups import Array, Group, datasets, grouped
from afdctl.export.figures.needs import arrays, figures
from afdctl.export.figures.page import Page
from afdctl.export.figures.robustness import TITLES
from afdctl.export.figures.style import WIDTH, styled
from afdctl.store.record import Record

TEN: Final = (
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499", "#000000"
)  # fmt: skip
"""Paul Tol's muted colours, for all kinds of colour vision, and black."""
UNDER: Final = "#d4d4d4"


@styled
def embedding(records: Sequence[Record], analysis: str) -> Page:
    """Natural images of each method; then a row a method, a column a strength, natural images first.

    Points have their class's colour; where images are adversarial, the natural ones lie below in grey. Of several
    seeds the first is shown: maps have no mean.
    """
    groups = grouped(record for record in records if analysis in record.analyses)
    maps = [arrays(group.records[0], analysis) for group in groups]
    strengths = [figures(group.records[0], analysis)["epsilons"] for group in groups]
    columns = max(map(len, strengths))
    several = len(groups) > 1
    side = WIDTH / max(columns, len(groups))
    page = Page(f"{analysis} of features on {datasets(groups)}", records, WIDTH, (several + len(groups)) * side + 0.9)
    top, bottom = page.subfigures(2, 1, height_ratios=[1.1 * side, len(groups) * side]) if several else (None, page)
    if top is not None:
        for panel, group, found in zip(top.subplots(1, len(groups)), groups, maps, strict=True):
            _draw(panel, found, 0)
            _name_classes(panel, found)
            panel.set_title(group.label)
    grid = bottom.subplots(len(groups), columns, squeeze=False)
    for row, group, found, epsilons in zip(grid, groups, maps, strengths, strict=True):
        row[0].set_ylabel(group.label)
        for panel, step in zip(row, range(columns), strict=True):
            if step < len(epsilons):
                _draw(panel, found, step)
                panel.set_title("natural" if step == 0 else rf"$\epsilon$ = {epsilons[step]:.3g}", fontsize=7, pad=2)
            else:
                panel.set_axis_off()
    return page


tsne = partial(embedding, analysis="tsne")
umap = partial(embedding, analysis="umap")


def _draw(panel: Axes, found: dict[str, Array], step: int) -> None:
    """The images of one strength, adversarial ones over the natural ones."""
    points, label, prediction = found["points"][step], found["label"], found["prediction"][step]
    size = float(np.clip(900 / len(label), 0.4, 4))
    if step:
        _dots(panel, found["points"][0], UNDER, size, ".")
    colours = _colours(label)
    right = prediction == label
    _dots(panel, points[right], colours[right], size, ".")
    _dots(panel, points[~right], colours[~right], size, "x")
    panel.set(xticks=[], yticks=[])
    panel.grid(visible=False)
    panel.spines[:].set(visible=True, color="#bbbbbb")


def _dots(panel: Axes, points: Array, colours: Any, size: float, marker: str) -> None:
    # as pixels: 10,000 points a panel would make files of many megabytes
    panel.scatter(*points.T, c=colours, s=4 * size if marker == "." else size, marker=marker, linewidths=0 if marker == "." else 0.4, rasterized=True)


def _colours(label: Array) -> Array:
    """A colour (n, 4) for each image's class: of ten for up to ten classes, else of the circle of hues."""
    from matplotlib.colors import to_rgba_array

    if label.max() < len(TEN):
        return np.asarray(to_rgba_array(TEN)[label])
    return np.asarray(colormaps["hsv"](label / (label.max() + 1)))


def _name_classes(panel: Axes, found: dict[str, Array]) -> None:
    """The number of each of up to ten classes at the median of its natural images."""
    if found["label"].max() < len(TEN):
        for number in np.unique(found["label"]):
            x, y = np.median(found["points"][0][found["label"] == number], axis=0)
            panel.text(x, y, str(number), ha="center", va="center", path_effects=[withStroke(linewidth=1.5, foreground="white")])
