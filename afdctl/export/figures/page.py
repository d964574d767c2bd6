"""A figure for print: its size, caption and legend, its results, and its file; every figure by name."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from textwrap import fill
from typing import Any, Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from afdctl import __version__
from afdctl.errors import NotFoundError, RecipeError
from afdctl.export.figures.style import GREY, styled
from afdctl.export.groups import Group, analysis_gap, commands, dataset_titles, full_sweep_gap
from afdctl.export.tables.paper import checkpoint_of
from afdctl.formatting import did_you_mean, printable
from afdctl.journal import Row
from afdctl.runs import files, shards
from afdctl.runs.record import Record
from afdctl.runs.run import Run

# inches: the text width of a NeurIPS page
TEXT_WIDTH: Final = 5.5
# inches: a figure of one panel
PANEL_WIDTH: Final = 3.4
# of captions, in 7 point DejaVu Sans; more where there are no capitals
CHARACTERS_PER_INCH: Final = 18
FORMATS: Final = ("pdf", "svg", "png")
# the paper's panels, in its order
TITLES: Final[Mapping[str, str]] = {
    "pgd_linf": r"PGD-$L_\infty$",
    "pgd_l1": "PGD-$L_1$",
    "pgd_l2": "PGD-$L_2$",
    "fgsm": "FGSM",
    "mim": "MIM",
    "ddn": "DDN",
    "deepfool": "DeepFool",
    "cw": "C&W",
    "aa": "AutoAttack",
}
AFD: Final = ("AFD-DCGAN", "AFD-HINGE", "AFD-WGAN")
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
        # a run's name would be broken at its hyphens, and could not be copied
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


def is_swept(record: Record) -> bool:
    """Return whether the run has a curve of one of the attacks."""
    return any((attack, None) in record.curves for attack in TITLES)


Draw = Callable[[Sequence[Record]], PaperFigure]


class FigureSpec(NamedTuple):
    """The function that draws a figure, and its analysis; without one, it shows the curves of sweeps.

    `datasets` and `methods` are those of the paper's figure; empty for a figure that is not in the paper.
    """

    function: str
    analysis: str = ""
    datasets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()

    def shows(self, record: Record) -> bool:
        """Return whether the run is one of those in the paper's figure."""
        return self.has_dataset(record) and (not self.methods or record.method in self.methods)

    def has_dataset(self, record: Record) -> bool:
        """Return whether the run's data set is in the paper's figure."""
        return not self.datasets or record.dataset in self.datasets

    def build(self, records: Sequence[Record]) -> PaperFigure:
        """Draw the figure of the runs that have results for it. Error: NotFoundError where none has."""
        if not any(self.analysis in record.analyses if self.analysis else is_swept(record) for record in records):
            raise NotFoundError(self.hint(records))
        module, function = self.function.split(":")
        # imported here, because the modules that draw import this one
        draw: Draw = getattr(import_module(f"afdctl.export.figures.{module}"), function)
        return draw(records)

    def hint(self, records: Sequence[Record]) -> str:
        """Name the runs that lack results and the command that computes them, in one line; empty if none does."""
        incomplete = [record for record in records if not self._is_complete(record)]
        if not incomplete:
            return ""
        gaps = [
            analysis_gap(record, self.analysis) if self.analysis else full_sweep_gap(record) for record in incomplete
        ]
        names = ", ".join(record.name for record in incomplete)
        return f"{names}: no {self.analysis or 'complete sweep'}; run `{'; '.join(commands(gaps))}`"

    def _is_complete(self, record: Record) -> bool:
        if self.analysis:
            return self.analysis in record.analyses
        return all((attack, None) in record.curves for attack in TITLES)


FIGURES: Final[Mapping[str, FigureSpec]] = {
    "2": FigureSpec("robustness:robustness", datasets=("cifar10",)),
    "3": FigureSpec("divergence:hdh", "hdh", ("cifar10",), AFD),
    "A1": FigureSpec("robustness:robustness", datasets=("mnist",)),
    "A2": FigureSpec("robustness:robustness", datasets=("cifar100",)),
    "A3": FigureSpec("robustness:robustness", datasets=("tiny_imagenet",)),
    "A4": FigureSpec("features:sensitivity", "sensitivity", ("mnist", "cifar10", "cifar100", "tiny_imagenet")),
    "A5": FigureSpec("robustness:robustness", datasets=("mnist",), methods=("Matching", *AFD)),
    "A6": FigureSpec("embedding:tsne", "tsne", ("mnist",)),
    "A7": FigureSpec("embedding:tsne", "tsne", ("cifar10",)),
    "A8": FigureSpec("embedding:tsne", "tsne", ("cifar100",)),
    "pca": FigureSpec("features:pca", "pca"),
    "units": FigureSpec("features:units", "units"),
    "sensitivity": FigureSpec("features:sensitivity", "sensitivity"),
    "norms": FigureSpec("features:norms", "norms"),
    "tsne": FigureSpec("embedding:tsne", "tsne"),
    "umap": FigureSpec("embedding:umap", "umap"),
    "hdh": FigureSpec("divergence:hdh", "hdh"),
}


def find(name: str) -> str:
    """Return the figure's name in the case of the paper. Error: RecipeError with the nearest name."""
    names = {figure.lower(): figure for figure in FIGURES}
    if name.lower() not in names:
        raise RecipeError(f"--figure {name}: no such figure ({did_you_mean(name, FIGURES)})")
    return names[name.lower()]


def save_figures(runs: Sequence[Run], paths: Mapping[str, Path]) -> None:
    """Draw each named figure of the runs to its path."""
    records = [Record.of(run) for run in runs]
    for name, path in paths.items():
        save(FIGURES[name].build(records), path)


@styled
def save(figure: Figure, path: Path) -> None:
    """Write the figure atomically in the format of the path's suffix; the same figure makes the same bytes.

    Errors: RecipeError for a suffix that is none of FORMATS, DiskFullError.
    """
    kind = format_of(path)
    # in memory first: an error while drawing must not leave half a file in place of a whole one
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
