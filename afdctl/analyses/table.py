"""Every analysis by the name of its option: a new one is a file and a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from afdctl.analyses.dimensions import pca, units
from afdctl.analyses.divergence import hdh
from afdctl.analyses.embedding import tsne, umap
from afdctl.analyses.gathered import Gathered, Result
from afdctl.analyses.norms import norms
from afdctl.analyses.sensitivity import sensitivity

Needs = Literal["natural", "grid", "attacks"]


@dataclass(frozen=True)
class Analysis:
    """`needs` says which images it wants the features of: natural ones, the grid's too, or those of all attacks."""

    needs: Needs
    work: Callable[[Gathered], Result]


ANALYSES: Final[Mapping[str, Analysis]] = {
    "pca": Analysis("natural", pca),
    "units": Analysis("natural", units),
    "sensitivity": Analysis("grid", sensitivity),
    "tsne": Analysis("grid", tsne),
    "umap": Analysis("grid", umap),
    "hdh": Analysis("attacks", hdh),
    "norms": Analysis("grid", norms),
}
