"""Feature norms, logit scales and margins: natural against adversarial."""

import numpy as np

from afdctl.analyses.extract import Features
from afdctl.analyses.gathered import Gathered, Result, spread
from afdctl.sweep.figures import Array


def norms(gathered: Gathered) -> Result:
    """Median and standard deviation of three figures (e, n) of each image, natural (epsilon 0) and at each epsilon.

    `feature_norm`: the L2 norm of F's output before its normalisation; `logit_scale`: the L2 norm of the centred
    logits; `margin`: the label's logit minus the largest other one, negative where the image is misclassified.
    """
    grid = gathered.grid
    measured = [of_images(gathered.natural, gathered.label)]
    measured += [of_images(gathered.at(grid.title, epsilon), gathered.label) for epsilon in grid.epsilons]
    arrays = {name: np.stack([one[name] for one in measured]) for name in measured[0]}
    summed = {name: spread(array) for name, array in arrays.items()}
    return Result({"attack": grid.title, "norm": grid.norm, "epsilons": [0.0, *grid.epsilons], **summed}, arrays)


def of_images(features: Features, label: Array) -> dict[str, Array]:
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
