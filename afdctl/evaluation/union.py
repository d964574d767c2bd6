"""Robust accuracy in a union of balls: the images that no attack of any norm fooled, from per-sample distances."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from afdctl.evaluation.curves import SampleCurve, read_distances, robust_at, smallest_distances
from afdctl.recipe import Recipe
from afdctl.runs import shards
from afdctl.runs.curves import Interval, wilson
from afdctl.runs.record import Record


@dataclass(frozen=True)
class UnionAccuracy:
    """One run's accuracies in a union of balls.

    `alone` has the worst case in each norm; `attacks` the attacks that it is over; `interval` is Wilson's at 95 %.
    """

    run: str
    balls: Mapping[str, float]
    attacks: Mapping[str, tuple[str, ...]]
    n: int
    clean: float
    alone: Mapping[str, float]
    accuracy: float
    interval: Interval

    def as_json(self) -> dict[str, Any]:
        """Return what commands print with --json."""
        return asdict(self)


def union_accuracy(curves: Sequence[SampleCurve], balls: Mapping[str, float]) -> UnionAccuracy | None:
    """Combine a run's curves on the same images; None where a ball has no attack at its epsilon."""
    by_norm = {
        norm: [curve for curve in curves if curve.norm == norm and epsilon in curve.epsilons]
        for norm, epsilon in balls.items()
    }
    if not all(by_norm.values()):
        return None
    robust = {
        norm: robust_at(smallest_distances([curve.distances for curve in by_norm[norm]]), epsilon)
        for norm, epsilon in balls.items()
    }
    together = np.logical_and.reduce(list(robust.values()))
    return UnionAccuracy(
        run=curves[0].run,
        balls=dict(balls),
        attacks={norm: tuple(curve.title for curve in of_norm) for norm, of_norm in by_norm.items()},
        n=len(together),
        clean=curves[0].accuracies[0],
        alone={norm: float(mask.mean()) for norm, mask in robust.items()},
        accuracy=float(together.mean()),
        interval=wilson(int(together.sum()), len(together)),
    )


def recorded_union(record: Record) -> UnionAccuracy | None:
    """Combine a run's white-box results in the balls that it was trained in.

    Those on the most images count. None without a union, and where a ball has no attack on these images.
    """
    balls = trained_union(record.recipe)
    curves = [
        curve
        for curve in record.curves.values()
        if curve.norm in balls
        and not curve.source
        and all(shards.intact(record.run, cell["shard"]) for cell in curve.cells)
    ]
    if not curves:
        return None
    images = max((curve.n, curve.subset or "") for curve in curves)
    return union_accuracy(
        [
            SampleCurve(cells=curve.cells, run=record.name, distances=read_distances(record.run, curve.cells))
            for curve in curves
            if (curve.n, curve.subset or "") == images
        ],
        balls,
    )


def trained_union(chosen: Recipe | None) -> dict[str, float]:
    """Return the balls of the union that a recipe trains in, radius by norm; empty for a single ball."""
    return chosen.attack.balls if chosen and chosen.attack.union else {}
