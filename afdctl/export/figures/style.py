"""How figures look: print settings, and colours, dashes and markers that distinguish curves also in grey."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from afdctl.export.groups import Group
from afdctl.registry import BLACK, BLUE, DEFENSES, GREEN, ORANGE, PURPLE, RED, SKY
from afdctl.runs.shards import Array

SETTINGS: Final[dict[str, Any]] = {
    # a font that matplotlib ships, so that a figure is the same on every machine
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "axes.unicode_minus": True,
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.4,
    "legend.borderpad": 0.2,
    "legend.borderaxespad": 0.3,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlepad": 4,
    "axes.labelpad": 2,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": "#e6e6e6",
    "lines.linewidth": 1.1,
    "lines.markersize": 3.2,
    "lines.markeredgewidth": 0.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    # TrueType: text in a PDF stays text, and conferences' checks reject Type 3 fonts
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    # text in an SVG becomes shapes, because a browser may not have the font
    "svg.fonttype": "path",
    "svg.hashsalt": "afdctl",
    "savefig.dpi": 300,
}
# decorates functions that draw or save: our settings apply inside, whatever a matplotlibrc says
styled = matplotlib.style.context(["default", SETTINGS])

GREY: Final = "#767676"


class LineStyle(NamedTuple):
    """A curve's colour, dashes and marker."""

    colour: str
    dashes: Any
    marker: str


COLOURS: Final = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h", "d")
DASHES: Final[Sequence[Any]] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (2, 1)))


def method_styles() -> dict[str, LineStyle]:
    """Return the styles of all variants of built-in defenses, by the names of the methods."""
    return {
        defense.method_of(variant): LineStyle(*style)
        for defense in DEFENSES.values()
        for variant, style in defense.styles.items()
    }


def line_style(number: int) -> LineStyle:
    """Return the style of the curve with this number, for curves that are not of a known method."""
    return LineStyle(COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)])


def line_styles(groups: Iterable[Group]) -> dict[str, LineStyle]:
    """Choose a style for each label: a method's style for its first group, an unused one for others."""
    styles: dict[str, LineStyle] = {}
    known = method_styles()
    for group in groups:
        style = known.get(group.method)
        if style is None or style in styles.values():
            used = {*styles.values(), *known.values()}
            # 7 colours, 5 dashes and 13 markers repeat only after 455 styles
            style = next(style for style in map(line_style, range(1000)) if style not in used)
        styles[group.label] = style
    return styles


class MeanCurve(NamedTuple):
    """A curve over several runs: x, mean and sample standard deviation (k,); one run has no deviation."""

    x: Array
    mean: Array
    deviation: Array | None
    runs: int


def mean_over_runs(curves: Sequence[Mapping[float, float]]) -> MeanCurve | None:
    """Average curves (x -> y) at every x that all of them have; None if there is no such x."""
    # where a run lacks a value, the mean of the others would make a step in the curve
    x = sorted(set.intersection(*map(set, curves))) if curves else []
    if not x:
        return None
    values = np.array([[curve[position] for position in x] for curve in curves], dtype=float)
    deviation = values.std(axis=0, ddof=1) if len(curves) > 1 else None
    return MeanCurve(x=np.array(x), mean=values.mean(axis=0), deviation=deviation, runs=len(curves))


def draw_curve(panel: Axes, curve: MeanCurve, style: LineStyle, label: str, scale: float = 1) -> Line2D:
    """Draw a line with markers, and for several runs a band of one standard deviation either side."""
    (line,) = panel.plot(
        curve.x,
        scale * curve.mean,
        color=style.colour,
        linestyle=style.dashes,
        marker=style.marker,
        label=label,
        clip_on=False,
        zorder=3,
    )
    if curve.deviation is not None:
        low, high = curve.mean - curve.deviation, curve.mean + curve.deviation
        fill_band(panel, curve.x, scale * low, scale * high, style.colour)
    return line


def fill_band(panel: Axes, x: Array, low: Array, high: Array, colour: str) -> None:
    """Tint the area between two curves."""
    panel.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0, zorder=2)


def legend_line(style: LineStyle) -> Line2D:
    """Return a line that shows a style in a legend."""
    return Line2D([], [], color=style.colour, linestyle=style.dashes, marker=style.marker)
