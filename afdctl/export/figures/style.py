"""How figures look: print sizes, and colours, dashes and markers that tell curves apart also in grey."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from afdctl.export.groups import Group
from afdctl.sweep.figures import Array

WIDTH: Final = 5.5
"""Inches: the text width of a NeurIPS page; 2.7 leaves room for two side by side."""
SETTINGS: Final[dict[str, Any]] = {
    # a font that matplotlib brings along: a figure is the same on every machine
    "font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans", "axes.unicode_minus": True,
    "font.size": 7, "axes.titlesize": 7.5, "axes.labelsize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "legend.frameon": False, "legend.handlelength": 2.4, "legend.columnspacing": 1.4,
    "legend.borderpad": 0.2, "legend.borderaxespad": 0.3,
    "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False, "axes.titlepad": 4,
    "axes.labelpad": 2, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.4, "grid.color": "#e6e6e6",
    "lines.linewidth": 1.1, "lines.markersize": 3.2, "lines.markeredgewidth": 0.5,
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.major.pad": 2, "ytick.major.pad": 2,
    # TrueType: letters stay letters in a PDF, and no conference's check finds a Type 3 font
    "pdf.fonttype": 42, "ps.fonttype": 42,
    # in an SVG letters become shapes, as a browser may not have the font
    "svg.fonttype": "path", "svg.hashsalt": "afdctl", "savefig.dpi": 300,
}  # fmt: skip
styled = matplotlib.style.context(["default", SETTINGS])
"""Decorates what draws or saves: our settings inside, whatever a matplotlibrc says, and the old ones afterwards."""

GREY: Final = "#767676"
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PURPLE = (
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"
)  # fmt: skip
"""Okabe and Ito's palette for all kinds of colour vision, less the yellow, which vanishes on paper."""


class Spread(NamedTuple):
    """A curve over several runs: x, mean and sample standard deviation (k,); one run has no deviation."""

    x: Array
    mean: Array
    deviation: Array | None
    runs: int


def spread(curves: Sequence[Mapping[float, float]]) -> Spread | None:
    """Mean and deviation of curves (x -> y) at every x that all of them have; None if there is no such x."""
    x = sorted(set.intersection(*map(set, curves))) if curves else []
    if not x:
        return None
    values = np.array([[curve[at] for at in x] for curve in curves], dtype=float)
    deviation = values.std(axis=0, ddof=1) if len(curves) > 1 else None
    return Spread(x=np.array(x), mean=values.mean(axis=0), deviation=deviation, runs=len(curves))


class Look(NamedTuple):
    """A curve's colour, dashes and marker."""

    colour: str
    dashes: Any
    marker: str


LOOKS: Final[Mapping[str, Look]] = {
    # naturally trained: dashed black, AT blue, TRADES red, AFD green as in Figure A4
    "NT": Look(BLACK, (0, (3.5, 1.5)), "x"),
    "AT": Look(BLUE, (0, (9, 1.5)), "s"),
    "TRADES": Look(RED, (0, (5, 1.2, 1, 1.2)), "^"),
    "Matching": Look(PURPLE, (0, (1, 1.2)), "P"),
    "AFD-DCGAN": Look(ORANGE, (0, (5, 1, 1, 1, 1, 1)), "D"),
    "AFD-HINGE": Look(SKY, (0, (2, 0.8)), "v"),
    "AFD-WGAN": Look(GREEN, "-", "o"),
}
COLOURS: Final = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h", "d")
DASHES: Final[Sequence[Any]] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (2, 1)))


def look(number: int) -> Look:
    """The look of the curve of this number, where no method has one of its own."""
    return Look(COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)])


def looks(groups: Iterable[Group]) -> dict[str, Look]:
    """Label -> look: a method's own for its first group, one of the others for the next."""
    found: dict[str, Look] = {}
    for group in groups:
        own = LOOKS.get(group.method)
        others = (one for one in map(look, range(1000)) if one not in found.values() and one not in LOOKS.values())
        found[group.label] = own if own and own not in found.values() else next(others)
    return found


def curve(panel: Axes, drawn: Spread, with_look: Look, label: str, scale: float = 1) -> Line2D:
    """One line with markers, and the band of one deviation either way where there are several runs."""
    colour, dashes, marker = with_look
    (line,) = panel.plot(
        drawn.x, scale * drawn.mean, color=colour, linestyle=dashes, marker=marker, label=label, clip_on=False, zorder=3
    )
    if drawn.deviation is not None:
        band(panel, drawn.x, scale * (drawn.mean - drawn.deviation), scale * (drawn.mean + drawn.deviation), colour)
    return line


def key(with_look: Look) -> Line2D:
    """What stands for a look in a legend."""
    colour, dashes, marker = with_look
    return Line2D([], [], color=colour, linestyle=dashes, marker=marker)


def band(panel: Axes, x: Array, low: Array, high: Array, colour: str) -> None:
    """What lies between two curves, tinted."""
    panel.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0, zorder=2)
