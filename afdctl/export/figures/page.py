"""A figure for print: its size, caption and legend, its results, and the file it is saved to."""

import logging
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from textwrap import fill
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from afdctl import __version__
from afdctl.errors import RecipeError
from afdctl.export.figures.style import GREY, styled
from afdctl.export.groups import Group, dataset_titles
from afdctl.export.tables.paper import checkpoint_of
from afdctl.formatting import printable
from afdctl.journal import Row
from afdctl.runs import files, shards
from afdctl.runs.record import Record

# inches: the text width of a NeurIPS page
TEXT_WIDTH: Final = 5.5
# inches: a figure of one panel
PANEL_WIDTH: Final = 3.4
# of captions, in 7 point DejaVu Sans
CHARACTERS_PER_INCH: Final = 20
FORMATS: Final = ("pdf", "svg", "png")
# fontTools, which writes PDFs, warns about the dates in matplotlib's own font each time
logging.getLogger("fontTools").setLevel(logging.ERROR)


class PaperFigure(Figure):
    """A figure of a size in inches; its title and its runs go into the file's metadata."""

    def __init__(self, title: str, records: Iterable[Record], width: float, height: float) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        self.title = title
        self.runs = [printable(record.name) for record in records]

    def caption(self, *parts: str) -> None:
        """Write the non-empty parts below the figure."""
        text = "; ".join(part for part in parts if part) + "."
        text = fill(text, int(self.get_figwidth() * CHARACTERS_PER_INCH), break_on_hyphens=False)
        self.supxlabel(text, x=0.01, ha="left", fontsize=7, color=GREY)

    def legend_above(self, *parts: Mapping[str, Line2D], columns: int = 5) -> None:
        """Draw one legend for all panels; each part starts a row of it."""
        columns = min(columns, max(map(len, parts), default=0))
        blank = ("", Line2D([], [], linestyle="none"))
        rows = [row for part in parts for row in zip_longest(*[iter(part.items())] * columns, fillvalue=blank)]
        if rows:
            # matplotlib fills columns first
            labels, lines = zip(*(entry for column in zip(*rows, strict=True) for entry in column), strict=True)
            self.legend(lines, labels, loc="outside upper center", ncols=columns)


def write_in_panel(panel: Axes, text: str) -> None:
    """Write a text into a panel that has nothing to show."""
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color=GREY, linespacing=1.4)


def analysis_metrics(record: Record, analysis: str) -> dict[str, Any]:
    """Return the metrics of a run's analysis."""
    metrics: dict[str, Any] = record.analyses[analysis]["metrics"]
    return metrics


def analysis_arrays(record: Record, analysis: str) -> shards.Arrays:
    """Read the arrays of a run's analysis. Error: CorruptError."""
    return shards.read(record.run, record.analyses[analysis]["shard"])


def titles_of(groups: Iterable[Group]) -> str:
    """Join the titles of the groups' data sets."""
    return dataset_titles(group.dataset for group in groups)


def checkpoints(groups: Iterable[Group], rows: Callable[[Record], Iterable[Row]]) -> str:
    """Format the checkpoints behind `rows` of each run: `checkpoints: best (NT), last (AT)`; empty if all are best.

    A custom model has only one checkpoint and is left out.
    """
    labels: dict[str, dict[str, None]] = {}
    for group in groups:
        for record in group.records:
            for name in dict.fromkeys(checkpoint_of(record, row) for row in rows(record)):
                if name is not None:
                    labels.setdefault(name, {})[group.label] = None
    if len(labels) > 1:
        return "checkpoints: " + ", ".join(f"{name} ({', '.join(users)})" for name, users in labels.items())
    return "".join(f"checkpoint: {name}" for name in labels if name != "best")


def analysis_checkpoints(groups: Iterable[Group], analysis: str) -> str:
    """Format the checkpoints of an analysis that all runs have."""
    return checkpoints(groups, lambda record: [record.analyses[analysis]])


@styled
def save(figure: Figure, path: Path) -> None:
    """Write the figure atomically in the format of the path's suffix; the same figure makes the same bytes.

    Errors: RecipeError for a suffix that is none of FORMATS, DiskFullError.
    """
    kind = format_of(path)
    image = BytesIO()
    figure.savefig(image, format=kind, metadata=_metadata(figure, kind))
    files.write_bytes(path, image.getvalue())


def format_of(path: Path) -> str:
    """Return the format that the suffix names. Error: RecipeError."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        problem = f"no such format '{path.suffix}'" if kind else "a figure's file needs a suffix"
        raise RecipeError(f"--out {path}: {problem}; use {', '.join(f'.{name}' for name in FORMATS)}")
    return kind


def _metadata(figure: Figure, kind: str) -> dict[str, Any]:
    """Return title, runs and version under each format's names; without a date, so that files are reproducible."""
    title, runs = (figure.title, ", ".join(figure.runs)) if isinstance(figure, PaperFigure) else ("", "")
    source, software = f"runs: {runs}", f"afdctl {__version__}"
    by_format: dict[str, dict[str, Any]] = {
        "pdf": {"Title": title, "Subject": source, "Creator": software, "CreationDate": None},
        "svg": {"Title": title, "Description": source, "Creator": software, "Date": None},
        "png": {"Title": title, "Description": source, "Software": software},
    }
    return by_format[kind]
