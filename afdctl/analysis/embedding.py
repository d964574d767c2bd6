"""Embed features in two dimensions (Figures A6 to A8)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from afdctl.analysis.base import AnalysisInputs, AnalysisResult
from afdctl.data.subset import Subset
from afdctl.errors import RecipeError
from afdctl.runs.shards import Array

PERPLEXITY = 30.0
NEIGHBORS = 15


def tsne(inputs: AnalysisInputs) -> AnalysisResult:
    """Embed by scikit-learn's t-SNE (van der Maaten & Hinton 2008), initialised with principal components."""

    # t-SNE compares a point with 3 * perplexity neighbours, which must exist
    perplexity = min(PERPLEXITY, (_point_count(inputs) - 1) / 3)

    def embed(z: Array) -> Array:
        from sklearn.manifold import TSNE

        points: Array = TSNE(init="pca", perplexity=perplexity, random_state=inputs.seed).fit_transform(z)
        return points

    return _embed_together(inputs, embed, {"perplexity": perplexity})


def umap(inputs: AnalysisInputs) -> AnalysisResult:
    """Embed by UMAP (McInnes et al. 2018), where umap-learn is installed."""
    try:
        from umap import UMAP
    except ImportError:
        raise RecipeError("--umap: needs umap-learn; pip install 'afdctl[umap]'") from None

    neighbors = min(NEIGHBORS, _point_count(inputs) - 1)

    def embed(z: Array) -> Array:
        # one job: with more, the order of threads would decide the result despite the seed
        points: Array = UMAP(n_neighbors=neighbors, random_state=inputs.seed, n_jobs=1).fit_transform(z)
        return points

    return _embed_together(inputs, embed, {"neighbors": neighbors})


def _image_count(inputs: AnalysisInputs) -> int:
    """Return how many images are shown at each epsilon."""
    return min(inputs.points, len(inputs.label))


def _point_count(inputs: AnalysisInputs) -> int:
    """Return how many points are embedded: of natural images, and at each epsilon."""
    return _image_count(inputs) * (1 + len(inputs.grid.epsilons))


def _embed_together(
    inputs: AnalysisInputs, embed: Callable[[Array], Array], settings: dict[str, Any]
) -> AnalysisResult:
    """Embed the images at all epsilons at once, so that positions compare; points are (e, n, 2), natural ones first."""
    grid = inputs.grid
    # a sample, because the images of a folder are sorted by class
    shown = Subset.of(len(inputs.label), limit=inputs.points).index.numpy()
    n = len(shown)
    features = [inputs.natural, *(inputs.features_at(grid.title, epsilon) for epsilon in grid.epsilons)]
    z = np.concatenate([one_epsilon.z[shown] for one_epsilon in features])
    predictions = [one_epsilon.logits[shown].argmax(1) for one_epsilon in features]
    arrays = {
        "points": embed(z).reshape(len(features), n, 2).astype(np.float32),
        "index": inputs.index[shown],
        "label": inputs.label[shown].astype(np.int32),
        "prediction": np.stack(predictions).astype(np.int32),
    }
    metrics = {"attack": grid.title, "norm": grid.norm, "epsilons": [0.0, *grid.epsilons], "images": n, **settings}
    return AnalysisResult(metrics, arrays)
