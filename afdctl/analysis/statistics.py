"""How many dimensions the features of natural images take (Table A4)."""

import numpy as np

from afdctl.analysis.base import AnalysisInputs, AnalysisResult, median_and_std
from afdctl.analysis.features import Features
from afdctl.runs.shards import Array

SHARE = 0.99
"""Of the variance, that the principal components counted by `dims` hold (Table A4)."""


def pca(gathered: AnalysisInputs) -> AnalysisResult:
    """The number of principal components that hold 99 % of the variance of z, and the cumulative shares (m,)."""
    z = gathered.natural.z.astype(np.float64)
    centred = z - z.mean(0)
    variances = np.linalg.eigvalsh(centred.T @ centred / len(z))[::-1].clip(0)
    total = variances.sum()
    explained = np.cumsum(variances) / total if total > 0 else np.ones_like(variances)
    # rounding must not ask for one more where all of the variance lies in a few components
    dims = int((explained < SHARE - 1e-12).sum() + 1) if total > 0 else 0
    return AnalysisResult({"dims": dims, "features": z.shape[1], "share": SHARE}, {"explained": explained})


def units(gathered: AnalysisInputs) -> AnalysisResult:
    """The number of features that are not zero for some image, and the greatest |z| of each (m,)."""
    largest = np.abs(gathered.natural.z).max(0)
    return AnalysisResult({"units": int((largest > 0).sum()), "features": len(largest)}, {"largest": largest})


def norms(gathered: AnalysisInputs) -> AnalysisResult:
    """Median and standard deviation of three figures (e, n) of each image, natural (epsilon 0) and at each epsilon.

    `feature_norm`: the L2 norm of F's output before its normalisation; `logit_scale`: the L2 norm of the centred
    logits; `margin`: the label's logit minus the largest other one, negative where the image is misclassified.
    """
    grid = gathered.grid
    measured = [per_image_norms(gathered.natural, gathered.label)]
    measured += [per_image_norms(gathered.at(grid.title, epsilon), gathered.label) for epsilon in grid.epsilons]
    arrays = {name: np.stack([one[name] for one in measured]) for name in measured[0]}
    summed = {name: median_and_std(array) for name, array in arrays.items()}
    return AnalysisResult(
        {"attack": grid.title, "norm": grid.norm, "epsilons": [0.0, *grid.epsilons], **summed}, arrays
    )


def per_image_norms(features: Features, label: Array) -> dict[str, Array]:
    """The three figures of n images, each (n,)."""
    logits = features.logits
    rows = np.arange(len(label))
    others = logits.copy()
    others[rows, label] = -np.inf
    return {
        "feature_norm": features.length,
        "logit_scale": np.linalg.norm(logits - logits.mean(1, keepdims=True), axis=1),
        "margin": logits[rows, label] - others.max(1),
    }


def sensitivity(gathered: AnalysisInputs) -> AnalysisResult:
    """||F(x) - F(x')|| / ||F(x)|| (e, n): median and standard deviation over the test split for each epsilon.

    An image whose F(x) is zero has none: it is NaN, and left out of both.
    """
    z = gathered.natural.z
    length = np.linalg.norm(z, axis=1)
    length[length == 0] = np.nan
    grid = gathered.grid
    moved = [np.linalg.norm(gathered.at(grid.title, epsilon).z - z, axis=1) / length for epsilon in grid.epsilons]
    of_images = np.stack(moved)
    figures = {"attack": grid.title, "norm": grid.norm, "epsilons": list(grid.epsilons), **median_and_std(of_images)}
    return AnalysisResult(figures, {"sensitivity": of_images})
