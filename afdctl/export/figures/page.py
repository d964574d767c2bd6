"""A figure that knows what it shows, and its file."""

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
from afdctl.events import Row
from afdctl.export.figures.style import GREY, styled
from afdctl.export.groups import Group, dataset_titles, format_range
from afdctl.export.tables.base import checkpoint_of
from afdctl.formatting import printable
from afdctl.store import atomic, shards
from afdctl.store.record import Record

FORMATS: Final = ("pdf", "svg", "png")
LETTERS_PER_INCH: Final = 20
"""Of captions: 7 point DejaVu Sans."""
# what makes PDFs finds the dates of matplotlib's own font odd, each time
logging.getLogger("fontTools").setLevel(logging.ERROR)


class Page(Figure):
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


def among(numbers: Iterable[int]) -> str:
    """How many images there were: `n = 360`, `n = 500 to 10,000`; empty for none."""
    known = format_range(numbers)
    return f"n = {known}" if known else ""


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
    atomic.write_bytes(path, image.getvalue())


def format_of(path: Path) -> str:
    """The format that the suffix names."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        suffix = f"no such format '{path.suffix}'" if kind else "a figure's file needs a suffix"
        raise RecipeError(f"--out {path}: {suffix}; use {', '.join(f'.{each}' for each in FORMATS)}")
    return kind


def _metadata(figure: Figure, kind: str) -> dict[str, Any]:
    """Title, runs and version under the names that each format has for them; no date."""
    title, runs = (figure.title, ", ".join(figure.runs)) if isinstance(figure, Page) else ("", "")
    source, by = f"runs: {runs}", f"afdctl {__version__}"
    named: dict[str, dict[str, Any]] = {
        "pdf": {"Title": title, "Subject": source, "Creator": by, "CreationDate": None},
        "svg": {"Title": title, "Description": source, "Creator": by, "Date": None},
        "png": {"Title": title, "Description": source, "Software": by},
    }
    return named[kind]
