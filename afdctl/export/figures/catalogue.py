"""Every figure by name: the paper's, and one for each analysis."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from afdctl.errors import NotFoundError, RecipeError
from afdctl.export.figures.dimensions import pca, units
from afdctl.export.figures.divergence import hdh
from afdctl.export.figures.embedding import tsne, umap
from afdctl.export.figures.medians import norms, sensitivity
from afdctl.export.figures.needs import SWEPT, Needs, analysed
from afdctl.export.figures.page import Page
from afdctl.export.figures.robustness import robustness
from afdctl.recipe.values import suggestion
from afdctl.store.record import Record

AFD: Final = ("AFD-DCGAN", "AFD-HINGE", "AFD-WGAN")


class Kind(NamedTuple):
    """How a figure is drawn, from what; and the data sets and methods that the paper's shows, where it has one."""

    draw: Callable[[Sequence[Record]], Page]
    needs: Needs
    datasets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()

    def shows(self, record: Record) -> bool:
        """Whether the run is one of those that the paper's figure is of."""
        return self.of_dataset(record) and (not self.methods or record.method in self.methods)

    def of_dataset(self, record: Record) -> bool:
        return not self.datasets or record.dataset in self.datasets

    def of(self, records: Sequence[Record]) -> Page:
        """The figure of those runs that have results for it. Error: NotFoundError where none has."""
        if not any(map(self.needs.any_of, records)):
            raise NotFoundError("\n".join(self.needs.lines(records)))
        return self.draw(records)


FIGURES: Final[Mapping[str, Kind]] = {
    "2": Kind(robustness, SWEPT, ("cifar10",)),
    "3": Kind(hdh, analysed("hdh"), ("cifar10",), AFD),
    "A1": Kind(robustness, SWEPT, ("mnist",)),
    "A2": Kind(robustness, SWEPT, ("cifar100",)),
    "A3": Kind(robustness, SWEPT, ("tiny_imagenet",)),
    "A4": Kind(sensitivity, analysed("sensitivity"), ("mnist", "cifar10", "cifar100", "tiny_imagenet")),
    "A5": Kind(robustness, SWEPT, ("mnist",), ("Matching", *AFD)),
    "A6": Kind(tsne, analysed("tsne"), ("mnist",)),
    "A7": Kind(tsne, analysed("tsne"), ("cifar10",)),
    "A8": Kind(tsne, analysed("tsne"), ("cifar100",)),
    "pca": Kind(pca, analysed("pca")),
    "units": Kind(units, analysed("units")),
    "sensitivity": Kind(sensitivity, analysed("sensitivity")),
    "norms": Kind(norms, analysed("norms")),
    "tsne": Kind(tsne, analysed("tsne")),
    "umap": Kind(umap, analysed("umap")),
    "hdh": Kind(hdh, analysed("hdh")),
}


def find(name: str) -> str:
    """The figure's name as the table has it, whatever its case; RecipeError for none."""
    known = {each.lower(): each for each in FIGURES}
    if name.lower() not in known:
        raise RecipeError(f"--figure {name}: no such figure ({suggestion(name, list(FIGURES))})")
    return known[name.lower()]
