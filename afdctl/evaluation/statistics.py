"""What is reported of attacked samples: pure functions."""

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from afdctl.formatting import format_epsilon

Array = np.ndarray[Any, Any]
Z_95 = 1.959963984540054


class Interval(NamedTuple):
    low: float
    high: float


def wilson(successes: int, n: int, z: float = Z_95) -> Interval:
    """Wilson's interval of a share, by default at 95 %."""
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def auc(epsilons: Sequence[float], accuracies: Sequence[float]) -> float:
    """The paper's area: trapezoid of accuracy over the grid (0 first), divided by its length; 1 is perfect."""
    widths = np.diff(epsilons)
    heights = (np.asarray(accuracies[1:]) + np.asarray(accuracies[:-1])) / 2
    return float(widths @ heights / epsilons[-1])


def other_grids(grids: Iterable[tuple[str, Sequence[float]]]) -> str | None:
    """Say whose areas do not compare, given each curve's name and epsilons; None where all share one grid."""
    names: dict[tuple[float, ...], list[str]] = {}
    for name, epsilons in grids:
        names.setdefault(tuple(epsilons), []).append(name)
    if len(names) < 2:
        return None
    each = [
        f"{', '.join(dict.fromkeys(attacks))} over {' '.join(map(format_epsilon, grid))}"
        for grid, attacks in names.items()
    ]
    return f"AUC is the mean accuracy over a curve's own grid, and does not compare across grids: {'; '.join(each)}."


def step_auc(distances: Array, epsilon_max: float) -> float:
    """The exact area under the step curve of accuracy up to epsilon_max, divided by it.

    `distances` (n,) holds the smallest adversarial distance of each sample: 0 where x itself is misclassified, inf
    where nothing was found. The curve falls by 1 / n at each of them, so the area is their mean, capped.
    """
    return float(np.minimum(distances, epsilon_max, dtype=np.float64).mean() / epsilon_max)


def accuracy_at(distances: Array, epsilon: float) -> float:
    """The share of samples with no adversarial image within epsilon (float32's rounding aside)."""
    return float((distances > epsilon * (1 + 1e-5)).mean())


def lower_envelope(distances: Sequence[Array]) -> Array:
    """The point-wise worst case: each sample's smallest distance (n,) over all attacks of one norm."""
    worst: Array = np.minimum.reduce(distances)
    return worst


def optimality(epsilons: Sequence[float], accuracies: Sequence[float], worst: Sequence[float]) -> float | None:
    """How close an attack comes to the envelope's accuracies on its own grid: 1 is equal, 0 finds nothing.

    (clean - area of the attack) / (clean - area of the envelope), the idea of AttackBench's local optimality, on the
    trapezoids that every attack has: distances found under a budget end where the grid does. None where even the
    envelope finds nothing.
    """
    found = accuracies[0] - auc(epsilons, worst)
    return (accuracies[0] - auc(epsilons, accuracies)) / found if found > 1e-9 else None
