"""How far an attack moves the features (Figure A4)."""

import numpy as np

from afdctl.analyses.gathered import Gathered, Result, spread


def sensitivity(gathered: Gathered) -> Result:
    """||F(x) - F(x')|| / ||F(x)|| (e, n): median and standard deviation over the test split for each epsilon.

    An image whose F(x) is zero has none: it is NaN, and left out of both.
    """
    z = gathered.natural.z
    length = np.linalg.norm(z, axis=1)
    length[length == 0] = np.nan
    grid = gathered.grid
    moved = [np.linalg.norm(gathered.at(grid.title, epsilon).z - z, axis=1) / length for epsilon in grid.epsilons]
    of_images = np.stack(moved)
    figures = {"attack": grid.title, "norm": grid.norm, "epsilons": list(grid.epsilons), **spread(of_images)}
    return Result(figures, {"sensitivity": of_images})
