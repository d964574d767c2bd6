"""An analysis: how far the features of a class reach into other classes, natural and under attack.

afdctl analyze RUN --analysis docs/examples/class_overlap.py:class_overlap --set neighbours=5
"""

import numpy as np

import afdctl


def class_overlap(inputs, *, neighbours: int = 10):
    """Return the share of the nearest neighbours of an image, among the natural ones, that have another label."""
    natural = inputs.natural.z  # features (n, m) of the n test images
    label = inputs.label
    epsilons = [0.0, *inputs.grid.epsilons]
    shares = []
    for epsilon in epsilons:
        z = natural if epsilon == 0 else inputs.features_at(inputs.grid.title, epsilon).z
        distance = np.linalg.norm(z[:, None] - natural[None], axis=2)
        np.fill_diagonal(distance, np.inf)  # an image is no neighbour of its own
        nearest = np.argsort(distance, axis=1)[:, :neighbours]
        shares.append((label[nearest] != label[:, None]).mean(1))
    metrics = {"natural": shares[0].mean(), "strongest": shares[-1].mean(), "epsilons": epsilons}
    # metrics go into the journal and tables, arrays into results.h5
    return afdctl.AnalysisResult(metrics, {"overlap": np.stack(shares)})


class_overlap.needs = "grid"  # features under the attack whose strength varies; "natural" is the default
class_overlap.label = "overlap"
