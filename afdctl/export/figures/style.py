"""How figures look: print sizes, and colours, dashes and markers that tell curves apart also in grey."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from textwrap import fill
from typing import Any, Final, NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from afdctl import __version__
from afdctl.errors import RecipeError
from afdctl.evaluation.statistics import Array
from afdctl.export.groups import Group, dataset_titles
from afdctl.export.tables.base import checkpoint_of
from afdctl.formatting import printable
from afdctl.journal import Row
from afdctl.runs import files, shards
from afdctl.runs.record import Record

WIDTH: Final = 5.5
"""Inches: the text width of a NeurIPS page; 2.7 leaves room for two side by side."""
SETTINGS: Final[dict[str, Any]] = {
    # a font that matplotlib brings along: a figure is the same on every machine
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
    # TrueType: letters stay letters in a PDF, and no conference's check finds a Type 3 font
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    # in an SVG letters become shapes, as a browser may not have the font
    "svg.fonttype": "path",
    "svg.hashsalt": "afdctl",
    "savefig.dpi": 300,
}
styled = matplotlib.style.context(["default", SETTINGS])
"""Decorates what draws or saves: our settings inside, whatever a matplotlibrc says, and the old ones afterwards."""

GREY: Final = "#767676"
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PURPLE = (
    "#000000",
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)
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


class LineStyle(NamedTuple):
    """A curve's colour, dashes and marker."""

    colour: str
    dashes: Any
    marker: str


LINE_STYLES: Final[Mapping[str, LineStyle]] = {
    # naturally trained: dashed black, AT blue, TRADES red, AFD green as in Figure A4
    "NT": LineStyle(BLACK, (0, (3.5, 1.5)), "x"),
    "AT": LineStyle(BLUE, (0, (9, 1.5)), "s"),
    "TRADES": LineStyle(RED, (0, (5, 1.2, 1, 1.2)), "^"),
    "Matching": LineStyle(PURPLE, (0, (1, 1.2)), "P"),
    "AFD-DCGAN": LineStyle(ORANGE, (0, (5, 1, 1, 1, 1, 1)), "D"),
    "AFD-HINGE": LineStyle(SKY, (0, (2, 0.8)), "v"),
    "AFD-WGAN": LineStyle(GREEN, "-", "o"),
}
COLOURS: Final = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h", "d")
DASHES: Final[Sequence[Any]] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (2, 1)))


def line_style(number: int) -> LineStyle:
    """The look of the curve of this number, where no method has one of its own."""
    return LineStyle(COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)])


def line_styles(groups: Iterable[Group]) -> dict[str, LineStyle]:
    """Label -> look: a method's own for its first group, one of the others for the next."""
    found: dict[str, LineStyle] = {}
    for group in groups:
        own = LINE_STYLES.get(group.method)
        others = (
            one for one in map(line_style, range(1000)) if one not in found.values() and one not in LINE_STYLES.values()
        )
        found[group.label] = own if own and own not in found.values() else next(others)
    return found


def curve(panel: Axes, drawn: Spread, with_look: LineStyle, label: str, scale: float = 1) -> Line2D:
    """One line with markers, and the band of one deviation either way where there are several runs."""
    colour, dashes, marker = with_look
    (line,) = panel.plot(
        drawn.x, scale * drawn.mean, color=colour, linestyle=dashes, marker=marker, label=label, clip_on=False, zorder=3
    )
    if drawn.deviation is not None:
        band(panel, drawn.x, scale * (drawn.mean - drawn.deviation), scale * (drawn.mean + drawn.deviation), colour)
    return line


def key(with_look: LineStyle) -> Line2D:
    """What stands for a look in a legend."""
    colour, dashes, marker = with_look
    return Line2D([], [], color=colour, linestyle=dashes, marker=marker)


def band(panel: Axes, x: Array, low: Array, high: Array, colour: str) -> None:
    """What lies between two curves, tinted."""
    panel.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0, zorder=2)


FORMATS: Final = ("pdf", "svg", "png")
LETTERS_PER_INCH: Final = 20
"""Of captions: 7 point DejaVu Sans."""
# what makes PDFs finds the dates of matplotlib's own font odd, each time
logging.getLogger("fontTools").setLevel(logging.ERROR)


class PaperFigure(Figure):
    """A figure of a size in inches; its title and its runs go into the file's metadata."""

    def __init__(self, title: str, records: Iterable[Record], width: float, height: float) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        self.title = title
        self.runs = [printable(record.name) for record in records]

    def caption(self, *parts: str) -> None:
        """What a reader must know of the figure, at its foot."""
        text = fill("; ".join(part for part in parts if part) + ".", int(self.get_figwidth() * LETTERS_PER_INCH))
        self.supxlabel(text, x=0.01, ha="left", fontsize=7, color=GREY)

    def legend_above(self, *parts: Mapping[str, Line2D], columns: int = 5) -> None:
        """One legend for all panels; each part begins a row of it."""
        columns = min(columns, max(map(len, parts), default=0))
        blank = ("", Line2D([], [], linestyle="none"))
        rows = [row for part in parts for row in zip_longest(*[iter(part.items())] * columns, fillvalue=blank)]
        if rows:
            # matplotlib fills columns first
            labels, lines = zip(*(entry for column in zip(*rows, strict=True) for entry in column), strict=True)
            self.legend(lines, labels, loc="outside upper center", ncols=columns)


def say(panel: Axes, text: str) -> None:
    """What stands in a panel that has nothing to show."""
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color=GREY, linespacing=1.4)


def datasets(groups: Iterable[Group]) -> str:
    """Titles of the groups' data sets."""
    return dataset_titles(group.dataset for group in groups)


def checkpoints(groups: Iterable[Group], rows: Callable[[Record], Iterable[Row]]) -> str:
    """Checkpoints behind the `rows` of each run: `checkpoints: best (NT), last (AT)`; empty if all are best.

    A custom model has only one and is left out.
    """
    labels: dict[str, dict[str, None]] = {}
    for group in groups:
        for record in group.records:
            for name in dict.fromkeys(checkpoint_of(record, row) for row in rows(record)):
                if name is not None:
                    labels.setdefault(name, {})[group.label] = None
    if len(labels) > 1:
        return "checkpoints: " + ", ".join(f"{name} ({', '.join(of)})" for name, of in labels.items())
    return "".join(f"checkpoint: {name}" for name in labels if name != "best")


def checkpoints_of(groups: Iterable[Group], analysis: str) -> str:
    """Checkpoints of an analysis that all runs have."""
    return checkpoints(groups, lambda record: [record.analyses[analysis]])


def figures(record: Record, analysis: str) -> dict[str, Any]:
    """Metrics of a run's analysis."""
    metrics: dict[str, Any] = record.analyses[analysis]["figures"]
    return metrics


def arrays(record: Record, analysis: str) -> shards.Arrays:
    """Arrays of a run's analysis. Error: CorruptError."""
    return shards.read(record.run, record.analyses[analysis]["shard"])


@styled
def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format of the path's suffix, in one go; the same figure makes the same bytes.

    Errors: RecipeError for a suffix that is none of FORMATS, DiskFullError.
    """
    kind = format_of(path)
    image = BytesIO()
    figure.savefig(image, format=kind, metadata=_metadata(figure, kind))
    files.write_bytes(path, image.getvalue())


def format_of(path: Path) -> str:
    """The format that the suffix names."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        suffix = f"no such format '{path.suffix}'" if kind else "a figure's file needs a suffix"
        raise RecipeError(f"--out {path}: {suffix}; use {', '.join(f'.{each}' for each in FORMATS)}")
    return kind


def _metadata(figure: Figure, kind: str) -> dict[str, Any]:
    """Title, runs and version under the names that each format has for them; no date."""
    title, runs = (figure.title, ", ".join(figure.runs)) if isinstance(figure, PaperFigure) else ("", "")
    source, by = f"runs: {runs}", f"afdctl {__version__}"
    named: dict[str, dict[str, Any]] = {
        "pdf": {"Title": title, "Subject": source, "Creator": by, "CreationDate": None},
        "svg": {"Title": title, "Description": source, "Creator": by, "Date": None},
        "png": {"Title": title, "Description": source, "Software": by},
    }
    return named[kind]
