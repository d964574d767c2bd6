"""How many dimensions the features of natural images take (Table A4)."""

import numpy as np

from afdctl.analyses.gathered import Gathered, Result

SHARE = 0.99
"""Of the variance, that the principal components counted by `dims` hold (Table A4)."""


def pca(gathered: Gathered) -> Result:
    """The number of principal components that hold 99 % of the variance of z, and the cumulative shares (m,)."""
    z = gathered.natural.z.astype(np.float64)
    centred = z - z.mean(0)
    variances = np.linalg.eigvalsh(centred.T @ centred / len(z))[::-1].clip(0)
    total = variances.sum()
    explained = np.cumsum(variances) / total if total > 0 else np.ones_like(variances)
    # rounding must not ask for one more where all of the variance lies in a few components
    dims = int((explained < SHARE - 1e-12).sum() + 1) if total > 0 else 0
    return Result({"dims": dims, "features": z.shape[1], "share": SHARE}, {"explained": explained})


def units(gathered: Gathered) -> Result:
    """The number of features that are not zero for some image, and the greatest |z| of each (m,)."""
    largest = np.abs(gathered.natural.z).max(0)
    return Result({"units": int((largest > 0).sum()), "features": len(largest)}, {"largest": largest})
