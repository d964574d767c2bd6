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

from afdctl.export.figures.page import (
    TEXT_WIDTH,
    TITLES,
    PaperFigure,
    analysis_arrays,
    analysis_checkpoints,
    analysis_metrics,
    titles_of,
)
from afdctl.export.figures.style import styled
from afdctl.export.groups import Group, plot_groups
from afdctl.runs.record import Record
from afdctl.runs.shards import Array

# Paul Tol's muted colours, for all kinds of colour vision, and black
CLASS_COLOURS: Final = (
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
# of the natural images drawn below adversarial ones
NATURAL_GREY: Final = "#d4d4d4"
NAMES: Final = {"tsne": "t-SNE", "umap": "UMAP"}


@styled
def embedding(records: Sequence[Record], analysis: str) -> PaperFigure:
    """Draw the natural images of each method, then a row per method and a column per epsilon.

    Points have the colour of their class. Below adversarial images the natural ones are drawn in grey. Only the first
    of several seeds is shown, because embeddings have no mean.
    """
    groups = plot_groups(record for record in records if analysis in record.analyses)
    embeddings = [analysis_arrays(group.records[0], analysis) for group in groups]
    grids = [analysis_metrics(group.records[0], analysis)["epsilons"] for group in groups]
    # a single method already has its natural images in its own row
    natural_rows = 1 if len(groups) > 1 else 0
    rows, columns = natural_rows + len(groups), max(natural_rows * len(groups), *map(len, grids))
    # inches: panels are squares, with a gap of 0.08 between them and room for text on three sides
    side = min((TEXT_WIDTH - 0.2) / columns - 0.08, 1.4)
    width, height = columns * (side + 0.08) + 0.2, rows * (side + 0.08) + 0.16 * (1 + natural_rows) + 0.35
    page = PaperFigure(f"{NAMES[analysis]} of features on {titles_of(groups)}", records, width, height)
    panels = page.subplots(rows, columns, squeeze=False)
    for panel, group, arrays in zip(panels[0] if natural_rows else (), groups, embeddings, strict=False):
        _draw(panel, arrays, 0)
        _number_classes(panel, arrays)
        panel.set_title(group.label)
    for row, group, arrays, epsilons in zip(panels[natural_rows:], groups, embeddings, grids, strict=True):
        row[0].set_ylabel(group.label)
        for panel, (index, epsilon) in zip(row, enumerate(epsilons), strict=False):
            _draw(panel, arrays, index)
            if group is groups[0] or epsilons != grids[0]:
                panel.set_title(rf"$\epsilon$ = {epsilon:.3g}" if index else "natural")
    for panel in (panel for panel in panels.flat if not panel.has_data()):
        panel.set_axis_off()
    if not natural_rows:
        _number_classes(panels[0, 0], embeddings[0])
    page.caption(*_caption(groups, analysis, embeddings))
    return page


tsne = partial(embedding, analysis="tsne")
umap = partial(embedding, analysis="umap")


def _draw(panel: Axes, arrays: dict[str, Array], index: int) -> None:
    """Draw the images at one epsilon, adversarial ones over the natural ones; crosses are misclassified."""
    points, label, prediction = arrays["points"][index], arrays["label"], arrays["prediction"][index]
    # square points: the more images, the smaller each
    size = float(np.clip(900 / len(label), 0.4, 2.5))
    if index:
        _scatter(panel, arrays["points"][0], size, color=NATURAL_GREY, linewidths=0)
    colours, correct = _colours(label), prediction == label
    _scatter(panel, points[correct], size, color=colours[correct], linewidths=0)
    _scatter(panel, points[~correct], size, color=colours[~correct], marker="x", linewidths=0.3)
    (x, y), radius = _frame(arrays["points"])
    panel.set(xticks=[], yticks=[], box_aspect=1)
    panel.set(xlim=(x - radius, x + radius), ylim=(y - radius, y + radius))
    panel.spines[:].set(visible=True, color="#bbbbbb")


def _scatter(panel: Axes, points: Array, size: float, **style: Any) -> None:
    # as pixels: 10,000 vector dots in each panel would make a file of many megabytes
    panel.scatter(points[:, 0], points[:, 1], s=size, rasterized=True, **style)


def _frame(points: Array) -> tuple[Array, float]:
    """Return centre (2,) and half the side of the square around all points (e, n, 2), common to all epsilons."""
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    return (low + high) / 2, 0.56 * float((high - low).max())


def _colours(label: Array) -> Array:
    """Return the colour (n, 4) of each image's class: CLASS_COLOURS for up to ten classes, else a hue per class."""
    if label.max() < len(CLASS_COLOURS):
        return np.asarray(to_rgba_array(CLASS_COLOURS)[label])
    return np.asarray(colormaps["hsv"](label / (label.max() + 1)))


def _number_classes(panel: Axes, arrays: dict[str, Array]) -> None:
    """Write the number of each of up to ten classes above the median of its natural images."""
    label = arrays["label"]
    if label.max() < len(CLASS_COLOURS):
        outline = [withStroke(linewidth=1.5, foreground="white")]
        for number in np.unique(label):
            x, y = np.median(arrays["points"][0][label == number], axis=0)
            panel.annotate(str(number), (x, y), (0, 2), textcoords="offset points", ha="center", path_effects=outline)


def _caption(groups: Sequence[Group], analysis: str, embeddings: Sequence[dict[str, Array]]) -> list[str]:
    """Describe the images, the attack, and the dots and colours."""
    attacks = dict.fromkeys(analysis_metrics(group.records[0], analysis)["attack"] for group in groups)
    n = max(len(arrays["label"]) for arrays in embeddings)
    return [
        f"{NAMES[analysis]} of the features of {n:,} test images of {titles_of(groups)}",
        ", ".join(TITLES.get(attack, attack) for attack in attacks),
        "colour: class; grey: the same images without perturbation; crosses: misclassified",
        analysis_checkpoints([replace(group, records=group.records[:1]) for group in groups], analysis),
    ]
