"""Every figure by name: those of the paper, and one for each analysis."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from afdctl.errors import NotFoundError, RecipeError
from afdctl.export.figures.divergence import hdh
from afdctl.export.figures.embedding import tsne, umap
from afdctl.export.figures.features import norms, pca, sensitivity, units
from afdctl.export.figures.page import PaperFigure, save
from afdctl.export.figures.robustness import TITLES, is_swept, robustness
from afdctl.export.groups import analysis_gap, commands, full_sweep_gap
from afdctl.formatting import did_you_mean
from afdctl.runs.record import Record
from afdctl.runs.run import Run

AFD: Final = ("AFD-DCGAN", "AFD-HINGE", "AFD-WGAN")


class FigureSpec(NamedTuple):
    """How a figure is drawn, and from which analysis; without one, from the curves of sweeps.

    `datasets` and `methods` are those of the paper's figure; empty for a figure that is not in the paper.
    """

    draw: Callable[[Sequence[Record]], PaperFigure]
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
        return self.draw(records)

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
    "2": FigureSpec(robustness, datasets=("cifar10",)),
    "3": FigureSpec(hdh, "hdh", ("cifar10",), AFD),
    "A1": FigureSpec(robustness, datasets=("mnist",)),
    "A2": FigureSpec(robustness, datasets=("cifar100",)),
    "A3": FigureSpec(robustness, datasets=("tiny_imagenet",)),
    "A4": FigureSpec(sensitivity, "sensitivity", ("mnist", "cifar10", "cifar100", "tiny_imagenet")),
    "A5": FigureSpec(robustness, datasets=("mnist",), methods=("Matching", *AFD)),
    "A6": FigureSpec(tsne, "tsne", ("mnist",)),
    "A7": FigureSpec(tsne, "tsne", ("cifar10",)),
    "A8": FigureSpec(tsne, "tsne", ("cifar100",)),
    "pca": FigureSpec(pca, "pca"),
    "units": FigureSpec(units, "units"),
    "sensitivity": FigureSpec(sensitivity, "sensitivity"),
    "norms": FigureSpec(norms, "norms"),
    "tsne": FigureSpec(tsne, "tsne"),
    "umap": FigureSpec(umap, "umap"),
    "hdh": FigureSpec(hdh, "hdh"),
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
