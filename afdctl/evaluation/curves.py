"""Results of a sweep: robustness curves with per-sample distances, their worst case, and how close attacks come to it.

Distances (n,) are the smallest adversarial distance found for each sample: 0 where x itself is misclassified, inf
where nothing was found.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from afdctl.evaluation.cells import Rows
from afdctl.evaluation.plan import Task
from afdctl.evaluation.target import EvaluationTarget
from afdctl.journal import Row
from afdctl.runs import results_file, shards
from afdctl.runs.curves import RobustnessCurve, auc, fault_warnings
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from afdctl.runs.shards import Array
from afdctl.suites.autoattack import AA


@dataclass(frozen=True, eq=False, kw_only=True)
class SampleCurve(RobustnessCurve):
    """A robustness curve of the run `run` with the distances (n,) behind it.

    `parts` counts the samples that each part of AutoAttack fooled at the largest epsilon.
    """

    run: str
    distances: Array = field(repr=False)
    parts: dict[str, int] | None = None
    optimality: float | None = None

    @property
    def auc_exact(self) -> float:
        return exact_auc(self.distances, self.epsilons[-1])

    def as_json(self) -> dict[str, Any]:
        extra = {"auc_exact": self.auc_exact, "optimality": self.optimality, "parts": self.parts}
        return {"run": self.run, **super().as_json(), **extra}


@dataclass(frozen=True)
class WorstCaseCurve:
    """Accuracy under all attacks of one norm, transfers included: a sample is robust if none fooled it."""

    run: str
    norm: str
    subset: str | None
    n: int
    split_n: int | None
    attacks: tuple[str, ...]
    epsilons: tuple[float, ...]
    accuracies: tuple[float, ...]
    auc_exact: float
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what commands print with --json."""
        return asdict(self)


def sweep_curves(tasks: Iterable[Task], rows: Rows) -> dict[str, list[SampleCurve]]:
    """Build the curves of each run: those of a finished plan, then earlier transfers to the same network."""
    planned: dict[str, list[SampleCurve]] = {}
    targets: dict[str, EvaluationTarget] = {}
    for task in tasks:
        for target in task.targets:
            targets[target.name] = target
            cells = [rows[target.name, task.key(target, epsilon)] for epsilon in task.epsilons]
            planned.setdefault(target.name, []).append(_planned_curve(task, target, cells))
    results = {name: [*curves, *_earlier_transfers(targets[name], curves)] for name, curves in planned.items()}
    return {name: [_with_optimality(curve, curves) for curve in curves] for name, curves in results.items()}


def worst_case_curves(curves: Sequence[SampleCurve]) -> list[WorstCaseCurve]:
    """Build the worst case of each norm that several of a run's attacks share, on the union of their grids."""
    by_norm: dict[str, list[SampleCurve]] = {}
    for curve in curves:
        by_norm.setdefault(curve.norm, []).append(curve)
    return [_worst_case(same_norm) for same_norm in by_norm.values() if len(same_norm) > 1]


def _planned_curve(task: Task, target: EvaluationTarget, cells: list[Row]) -> SampleCurve:
    """Build a task's curve, named as in the plan: its cells may come from a sweep with other labels."""
    names = {"attack": task.spec.title, "source": task.source.name if task.transfers else None}
    warnings = list(target.check.get("warnings", []))
    if task.transfers:
        warnings += [f"{task.source.name}: {warning}" for warning in task.source.check.get("warnings", [])]
    named = tuple(cell | names for cell in cells)
    return SampleCurve(
        cells=named,
        warnings=(*warnings, *fault_warnings(named)),
        run=target.name,
        distances=read_distances(target.run, cells),
        parts=_fooled_by_part(task.spec, target, cells[-1]) if isinstance(task.spec, AA) else None,
    )


def _earlier_transfers(target: EvaluationTarget, planned: Sequence[SampleCurve]) -> list[SampleCurve]:
    """Build the curves of earlier transfer attacks on the same images and in the same norms.

    Where such images fool a network that its own gradients do not, the gradients are masked.
    """
    names = {(curve.attack, curve.source) for curve in planned}
    norms = {curve.norm for curve in planned}
    return [
        SampleCurve(
            cells=curve.cells,
            warnings=curve.warnings,
            run=target.name,
            distances=read_distances(target.run, curve.cells),
        )
        for key, curve in Record.of(target.run, target.digest).curves.items()
        if curve.source
        and key not in names
        and curve.norm in norms
        and (curve.checkpoint, curve.subset, curve.n) == (target.digest, planned[0].subset, planned[0].n)
        and all(shards.intact(target.run, cell["shard"]) for cell in curve.cells)
    ]


def read_distances(run: Run, cells: Iterable[Row]) -> Array:
    """Read each sample's smallest distance (n,) over the cells of a curve."""
    cells = list(cells)
    arrays = {name: shards.read(run, name, without=results_file.IMAGES) for name in {cell["shard"] for cell in cells}}
    return smallest_distances([arrays[cell["shard"]][f"{cell['epsilon']:g}/distance"] for cell in cells])


def _fooled_by_part(spec: AA, target: EvaluationTarget, cell: Row) -> dict[str, int]:
    """Count the samples that each part of AutoAttack fooled in a cell."""
    columns = shards.read(target.run, cell["shard"], without=results_file.IMAGES)
    part = columns[f"{cell['epsilon']:g}/part"]
    return {config.name: int((part == number).sum()) for number, config in enumerate(spec.parts())}


def _with_optimality(curve: SampleCurve, curves: Iterable[SampleCurve]) -> SampleCurve:
    """Rate a curve against the worst case of its norm, where another attack shares the norm."""
    same_norm = [other.distances for other in curves if other.norm == curve.norm]
    if len(same_norm) < 2:
        return curve
    worst = smallest_distances(same_norm)
    worst_accuracies = [accuracy_at(worst, epsilon) for epsilon in curve.epsilons]
    return replace(curve, optimality=optimality(curve.epsilons, curve.accuracies, worst_accuracies))


def _worst_case(curves: Sequence[SampleCurve]) -> WorstCaseCurve:
    """Combine curves of one run and one norm."""
    worst = smallest_distances([curve.distances for curve in curves])
    epsilons = tuple(sorted({epsilon for curve in curves for epsilon in curve.epsilons}))
    return WorstCaseCurve(
        run=curves[0].run,
        norm=curves[0].norm,
        subset=curves[0].subset,
        n=curves[0].n,
        split_n=curves[0].split_n,
        attacks=tuple(curve.title for curve in curves),
        epsilons=epsilons,
        accuracies=tuple(accuracy_at(worst, epsilon) for epsilon in epsilons),
        auc_exact=exact_auc(worst, epsilons[-1]),
        warnings=tuple(dict.fromkeys(warning for curve in curves for warning in curve.warnings)),
    )


def smallest_distances(distances: Sequence[Array]) -> Array:
    """Return each sample's smallest distance (n,) over several attacks or cells of one norm."""
    smallest: Array = np.minimum.reduce(distances)
    return smallest


def accuracy_at(distances: Array, epsilon: float) -> float:
    """Compute the share of samples without an adversarial image within epsilon."""
    return float(robust_at(distances, epsilon).mean())


def robust_at(distances: Array, epsilon: float) -> Array:
    """Return which samples (n,) have no adversarial image within epsilon, up to float32 rounding."""
    # twice the tolerance of `attacks.norms`, within which x' is still in its ball
    robust: Array = distances > epsilon * (1 + 1e-5)
    return robust


def exact_auc(distances: Array, epsilon_max: float) -> float:
    """Compute the area under the step curve of accuracy up to epsilon_max, divided by it.

    The curve falls by 1 / n at each distance, so the area is the mean of the distances capped at epsilon_max.
    """
    return float(np.minimum(distances, epsilon_max, dtype=np.float64).mean() / epsilon_max)


def optimality(epsilons: Sequence[float], accuracies: Sequence[float], worst: Sequence[float]) -> float | None:
    """Rate an attack against the worst case on its own grid: 1 equals it, 0 finds nothing.

    (clean - AUC of the attack) / (clean - AUC of the worst case), after AttackBench's local optimality. None where even
    the worst case finds nothing. Uses trapezoids, since distances of a fixed-budget attack end where its grid does.
    """
    lost = accuracies[0] - auc(epsilons, worst)
    return (accuracies[0] - auc(epsilons, accuracies)) / lost if lost > 1e-9 else None
