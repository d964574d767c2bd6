"""Figures A6 to A8: two-dimensional maps of natural and adversarial features."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.patheffects import withStroke

from afdctl.export.figures.robustness import TITLES
from afdctl.export.figures.style import WIDTH, PaperFigure, arrays, checkpoints_of, datasets, figures, styled
from afdctl.export.groups import Group, plot_groups
from afdctl.runs.record import Record
from afdctl.runs.shards import Array

TEN: Final = (
    "#332288",
    "#88ccee",
    "#44aa99",
    "#117733",
    "#999933",
    "#ddcc77",
    "#cc6677",
    "#882255",
    "#aa4499",
    "#000000",
)
"""Paul Tol's muted colours, for all kinds of colour vision, and black."""
UNDER: Final = "#d4d4d4"
"""Of natural images below adversarial ones."""
NAMES: Final = {"tsne": "t-SNE", "umap": "UMAP"}


@styled
def embedding(records: Sequence[Record], analysis: str) -> PaperFigure:
    """Natural images of each method; then a row a method, a column a strength, natural images first.

    Points have their class's colour; where images are adversarial, the natural ones lie below in grey. Of several
    seeds the first is shown: maps have no mean.
    """
    groups = plot_groups(record for record in records if analysis in record.analyses)
    maps = [arrays(group.records[0], analysis) for group in groups]
    strengths = [figures(group.records[0], analysis)["epsilons"] for group in groups]
    # one method alone has its natural images in its row already
    above = 1 if len(groups) > 1 else 0
    rows, columns = above + len(groups), max(above * len(groups), *map(len, strengths))
    # inches: panels are squares, with a gap of 0.08 between them and room for words at three sides
    side = min((WIDTH - 0.2) / columns - 0.08, 1.4)
    width, height = columns * (side + 0.08) + 0.2, rows * (side + 0.08) + 0.16 * (1 + above) + 0.35
    page = PaperFigure(f"{NAMES[analysis]} of features on {datasets(groups)}", records, width, height)
    grid = page.subplots(rows, columns, squeeze=False)
    for panel, group, found in zip(grid[0] if above else (), groups, maps, strict=False):
        _draw(panel, found, 0)
        _name_classes(panel, found)
        panel.set_title(group.label)
    for row, group, found, epsilons in zip(grid[above:], groups, maps, strengths, strict=True):
        row[0].set_ylabel(group.label)
        for panel, (step, epsilon) in zip(row, enumerate(epsilons), strict=False):
            _draw(panel, found, step)
            if group is groups[0] or epsilons != strengths[0]:
                panel.set_title(rf"$\epsilon$ = {epsilon:.3g}" if step else "natural")
    for panel in (panel for panel in grid.flat if not panel.has_data()):
        panel.set_axis_off()
    if not above:
        _name_classes(grid[0, 0], maps[0])
    page.caption(*_about(groups, analysis, maps))
    return page


tsne = partial(embedding, analysis="tsne")
umap = partial(embedding, analysis="umap")


def _draw(panel: Axes, found: dict[str, Array], step: int) -> None:
    """The images of one strength, adversarial ones over the natural ones; crosses are misclassified."""
    points, label, prediction = found["points"][step], found["label"], found["prediction"][step]
    # points of area: 10,000 images leave little room for each
    size = float(np.clip(900 / len(label), 0.4, 2.5))
    if step:
        _scatter(panel, found["points"][0], size, color=UNDER, linewidths=0)
    colours, right = _colours(label), prediction == label
    _scatter(panel, points[right], size, color=colours[right], linewidths=0)
    _scatter(panel, points[~right], size, color=colours[~right], marker="x", linewidths=0.3)
    middle, radius = _frame(found["points"])
    panel.set(xticks=[], yticks=[], box_aspect=1)
    panel.set(xlim=(middle[0] - radius, middle[0] + radius), ylim=(middle[1] - radius, middle[1] + radius))
    panel.spines[:].set(visible=True, color="#bbbbbb")


def _scatter(panel: Axes, points: Array, size: float, **look: Any) -> None:
    # as pixels: the dots of 10,000 images in each panel would make a file of many megabytes
    panel.scatter(points[:, 0], points[:, 1], s=size, rasterized=True, **look)


def _frame(points: Array) -> tuple[Array, float]:
    """The middle (2,) and half the side of the square around all points (e, n, 2), the same for all strengths."""
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    return (low + high) / 2, 0.56 * float((high - low).max())


def _colours(label: Array) -> Array:
    """A colour (n, 4) for each image's class: of ten for up to ten classes, else of the circle of hues."""
    if label.max() < len(TEN):
        return np.asarray(to_rgba_array(TEN)[label])
    return np.asarray(colormaps["hsv"](label / (label.max() + 1)))


def _name_classes(panel: Axes, found: dict[str, Array]) -> None:
    """The number of each of up to ten classes, above the median of its natural images."""
    label = found["label"]
    if label.max() < len(TEN):
        outline = [withStroke(linewidth=1.5, foreground="white")]
        for number in np.unique(label):
            x, y = np.median(found["points"][0][label == number], axis=0)
            panel.annotate(str(number), (x, y), (0, 2), textcoords="offset points", ha="center", path_effects=outline)


def _about(groups: Sequence[Group], analysis: str, maps: Sequence[dict[str, Array]]) -> list[str]:
    """The attack, how many images, and what dots and colours are."""
    attacks = dict.fromkeys(figures(group.records[0], analysis)["attack"] for group in groups)
    n = max(len(found["label"]) for found in maps)
    return [
        f"{NAMES[analysis]} of {n:,} test images of {datasets(groups)}",
        ", ".join(TITLES.get(attack, attack) for attack in attacks),
        "colours: classes; grey: the same images unperturbed; crosses: misclassified",
        checkpoints_of([replace(group, records=group.records[:1]) for group in groups], analysis),
    ]
