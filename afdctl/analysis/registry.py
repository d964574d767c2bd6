"""Every analysis by the name of its option: a new one is a file and a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from afdctl.analysis.base import AnalysisInputs, AnalysisResult
from afdctl.analysis.divergence import hdh
from afdctl.analysis.embedding import tsne, umap
from afdctl.analysis.statistics import norms, pca, sensitivity, units

Needs = Literal["natural", "grid", "attacks"]


@dataclass(frozen=True)
class Analysis:
    """An analysis, and the features that it needs: of natural images, also under the grid attack, or all attacks."""

    needs: Needs
    compute: Callable[[AnalysisInputs], AnalysisResult]


ANALYSES: Final[Mapping[str, Analysis]] = {
    "pca": Analysis("natural", pca),
    "units": Analysis("natural", units),
    "sensitivity": Analysis("grid", sensitivity),
    "tsne": Analysis("grid", tsne),
    "umap": Analysis("grid", umap),
    "hdh": Analysis("attacks", hdh),
    "norms": Analysis("grid", norms),
}
