"""Statistics of features: their dimensions, active units, norms, and sensitivity to attacks."""

import math

import numpy as np

from afdctl.analysis.base import AnalysisInputs, AnalysisResult
from afdctl.analysis.extraction import Features
from afdctl.runs.shards import Array

# share of the variance that the principal components counted by `dims` hold (Table A4)
VARIANCE_SHARE = 0.99


def pca(inputs: AnalysisInputs) -> AnalysisResult:
    """Count the principal components that hold 99 % of the variance of z; arrays: the cumulative shares (m,)."""
    z = inputs.natural.z.astype(np.float64)
    centred = z - z.mean(0)
    # of the covariance (m, m), far smaller than z; rounding makes its smallest eigenvalues negative
    variances = np.linalg.eigvalsh(centred.T @ centred / len(z))[::-1].clip(0)
    total = variances.sum()
    explained = np.cumsum(variances) / total if total > 0 else np.ones_like(variances)
    # rounding must not add a component where a few already hold all of the variance
    dims = int((explained < VARIANCE_SHARE - 1e-12).sum() + 1) if total > 0 else 0
    return AnalysisResult({"dims": dims, "features": z.shape[1], "share": VARIANCE_SHARE}, {"explained": explained})


def units(inputs: AnalysisInputs) -> AnalysisResult:
    """Count the features that are non-zero for some image; arrays: the largest |z| of each (m,)."""
    largest = np.abs(inputs.natural.z).max(0)
    return AnalysisResult({"units": int((largest > 0).sum()), "features": len(largest)}, {"largest": largest})


def norms(inputs: AnalysisInputs) -> AnalysisResult:
    """Compute median and standard deviation of three metrics (e, n), natural (epsilon 0) and at each epsilon.

    `feature_norm`: L2 norm of F's output before normalisation; `logit_scale`: L2 norm of the centred logits; `margin`:
    the label's logit minus the largest other one, negative where the image is misclassified.
    """
    grid = inputs.grid
    per_epsilon = [per_image_norms(inputs.natural, inputs.label)]
    per_epsilon += [per_image_norms(inputs.features_at(grid.title, epsilon), inputs.label) for epsilon in grid.epsilons]
    arrays = {name: np.stack([metrics[name] for metrics in per_epsilon]) for name in per_epsilon[0]}
    metrics = {name: median_and_std(array) for name, array in arrays.items()}
    return AnalysisResult(
        {"attack": grid.title, "norm": grid.norm, "epsilons": [0.0, *grid.epsilons], **metrics},
        {"index": inputs.index, **arrays},
    )


def per_image_norms(features: Features, label: Array) -> dict[str, Array]:
    """Compute the three metrics of n images, each (n,)."""
    logits = features.logits
    rows = np.arange(len(label))
    others = logits.copy()
    others[rows, label] = -np.inf
    return {
        "feature_norm": features.length,
        "logit_scale": np.linalg.norm(logits - logits.mean(1, keepdims=True), axis=1),
        "margin": logits[rows, label] - others.max(1),
    }


def sensitivity(inputs: AnalysisInputs) -> AnalysisResult:
    """Compute ||F(x) - F(x')|| / ||F(x)|| (e, n): median and standard deviation at each epsilon.

    It is NaN for an image whose F(x) is zero, which both leave out.
    """
    z = inputs.natural.z
    length = np.linalg.norm(z, axis=1)
    length[length == 0] = np.nan
    grid = inputs.grid
    ratios = np.stack(
        [np.linalg.norm(inputs.features_at(grid.title, epsilon).z - z, axis=1) / length for epsilon in grid.epsilons]
    )
    metrics = {"attack": grid.title, "norm": grid.norm, "epsilons": list(grid.epsilons), **median_and_std(ratios)}
    return AnalysisResult(metrics, {"index": inputs.index, "sensitivity": ratios})


def median_and_std(values: Array) -> dict[str, list[float]]:
    """Compute median and standard deviation of each row (e, n) over its finite values; NaN where there is none."""
    finite = [row[np.isfinite(row)] for row in values]
    return {
        "median": [float(np.median(row)) if len(row) else math.nan for row in finite],
        "std": [float(row.std()) if len(row) else math.nan for row in finite],
    }
