"""Features in two dimensions (Figures A6 to A8)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from afdctl.analysis.base import AnalysisInputs, AnalysisResult
from afdctl.errors import RecipeError
from afdctl.runs.shards import Array

PERPLEXITY = 30.0
NEIGHBORS = 15


def tsne(gathered: AnalysisInputs) -> AnalysisResult:
    """scikit-learn's t-SNE (van der Maaten & Hinton 2008), begun at the principal components."""

    perplexity = min(PERPLEXITY, (_points(gathered) - 1) / 3)

    def embed(z: Array) -> Array:
        from sklearn.manifold import TSNE

        points: Array = TSNE(init="pca", perplexity=perplexity, random_state=gathered.seed).fit_transform(z)
        return points

    return _embedded(gathered, embed, {"perplexity": perplexity})


def umap(gathered: AnalysisInputs) -> AnalysisResult:
    """UMAP (McInnes et al. 2018), where umap-learn is installed."""
    try:
        from umap import UMAP
    except ImportError:
        raise RecipeError("--umap: needs umap-learn; pip install 'afdctl[umap]'") from None

    neighbors = min(NEIGHBORS, _points(gathered) - 1)

    def embed(z: Array) -> Array:
        points: Array = UMAP(n_neighbors=neighbors, random_state=gathered.seed, n_jobs=1).fit_transform(z)
        return points

    return _embedded(gathered, embed, {"neighbors": neighbors})


def _images(gathered: AnalysisInputs) -> int:
    """How many images an embedding shows at each strength."""
    return min(gathered.points, len(gathered.label))


def _points(gathered: AnalysisInputs) -> int:
    """How many points are embedded: of all strengths, and of natural images."""
    return _images(gathered) * (1 + len(gathered.grid.epsilons))


def _embedded(gathered: AnalysisInputs, embed: Callable[[Array], Array], knobs: dict[str, Any]) -> AnalysisResult:
    """Points (e, n, 2), natural ones first: all strengths are embedded at once, so that their places compare."""
    grid, n = gathered.grid, _images(gathered)
    shown = [gathered.natural, *(gathered.at(grid.title, epsilon) for epsilon in grid.epsilons)]
    z = np.concatenate([features.z[:n] for features in shown])
    arrays = {
        "points": embed(z).reshape(len(shown), n, 2).astype(np.float32),
        "label": gathered.label[:n].astype(np.int32),
        "prediction": np.stack([features.logits[:n].argmax(1) for features in shown]).astype(np.int32),
    }
    figures = {"attack": grid.title, "norm": grid.norm, "epsilons": [0.0, *grid.epsilons], "images": n, **knobs}
    return AnalysisResult(figures, arrays)
