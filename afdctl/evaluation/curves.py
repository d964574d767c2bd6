"""Cells summed up: a curve for each attack, the worst case of each norm, and the areas below them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from afdctl.evaluation.partial_results import Rows
from afdctl.evaluation.plan import Task
from afdctl.evaluation.statistics import Array, accuracy_at, auc, lower_envelope, optimality, step_auc
from afdctl.evaluation.target import EvaluationTarget
from afdctl.journal import Row
from afdctl.runs import results_file, shards
from afdctl.runs.cells import CurveRows
from afdctl.runs.checks import warnings_of
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from afdctl.suites.schema import AA


@dataclass(frozen=True)
class Curve:
    """Accuracy of one run under one attack over its grid, 0 (clean) first; `warnings` of the networks' checks."""

    run: str
    attack: str
    norm: str
    source: str | None
    schedule: str
    n: int
    epsilons: tuple[float, ...]
    accuracies: tuple[float, ...]
    auc: float
    auc_step: float
    passes: float
    seconds: float
    parts: dict[str, int] | None
    distances: Array = field(repr=False)
    optimality: float | None = None
    precision: str = "float32"
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorstCaseCurve:
    """The point-wise worst case over the attacks of one norm, transfers too: a sample counts if all left it right."""

    run: str
    norm: str
    n: int
    attacks: tuple[str, ...]
    epsilons: tuple[float, ...]
    accuracies: tuple[float, ...]
    auc_step: float
    warnings: tuple[str, ...] = ()


def of_tasks(tasks: Iterable[Task], rows: Rows) -> dict[str, list[Curve]]:
    """Run -> the curves of a plan's cells, in the order of its tasks, and of earlier transfers to the same network."""
    made: dict[str, list[Curve]] = {}
    targets: dict[str, EvaluationTarget] = {}
    for task in tasks:
        for target in task.targets:
            targets[target.name] = target
            cells = [rows[target.name, task.key(target, epsilon)] for epsilon in task.epsilons]
            made.setdefault(target.name, []).append(curve(task, target, cells))
    every = {name: [*curves, *earlier_transfers(targets[name], curves)] for name, curves in made.items()}
    return {run: [with_optimality(one, of_run) for one in of_run] for run, of_run in every.items()}


def earlier_transfers(target: EvaluationTarget, shown: list[Curve]) -> list[Curve]:
    """What earlier sweeps measured with images made against other models, on as many images and in the same norms.

    Where such images fool a network that its own gradients do not, the gradients are masked.
    """
    there, norms = {(one.attack, one.source) for one in shown}, {one.norm for one in shown}
    found = Record.of(target.run)
    return [
        replace(of_rows(target, cells), warnings=tuple(warnings_of(cells[0], found.checks)))
        for (attack, source), cells in found.curves.items()
        if source
        and (attack, source) not in there
        and cells[0]["norm"] in norms
        and (cells[0]["checkpoint"], cells[0]["n"]) == (target.digest, shown[0].n)
        and all(shards.intact(target.run, cell["shard"]) for cell in cells)
    ]


def curve(task: Task, target: EvaluationTarget, rows: list[Row]) -> Curve:
    """One attack's cells, ascending, as a curve; the plan names it, as a cell may be from a sweep with other labels."""
    return replace(
        of_rows(target, rows),
        attack=task.spec.title,
        source=task.source.name if task.transfers else None,
        parts=fooled_by(task.spec, target.run, rows[-1]) if isinstance(task.spec, AA) else None,
        warnings=check_warnings(task, target),
    )


def of_rows(target: EvaluationTarget, rows: list[Row]) -> Curve:
    """The journal's cells of one attack, ascending, as a curve."""
    first, n = rows[0], rows[0]["n"]
    arrays = {
        name: shards.read(target.run, name, without=results_file.IMAGES) for name in {row["shard"] for row in rows}
    }
    columns = [arrays[row["shard"]][f"{row['epsilon']:g}/distance"] for row in rows]
    distances: Array = np.minimum.reduce(columns)
    epsilons = (0.0, *(row["epsilon"] for row in rows))
    accuracies = (first["acc_nat"], *(row["accuracy"] for row in rows))
    return Curve(
        run=target.name,
        attack=first["attack"],
        norm=first["norm"],
        source=first["source"],
        schedule=first["schedule"],
        n=n,
        epsilons=epsilons,
        accuracies=accuracies,
        auc=auc(epsilons, accuracies),
        auc_step=step_auc(distances, epsilons[-1]),
        passes=sum(row["forwards"] + row["backwards"] for row in rows) / n,
        seconds=sum(row["seconds"] for row in rows),
        parts=None,
        distances=distances,
        precision=first["precision"],
    )


def check_warnings(task: Task, target: EvaluationTarget) -> tuple[str, ...]:
    """What the checks say against a target's figures, and in a transfer against the images' source."""
    of_source = [f"{task.source.name}: {line}" for line in task.source.check.get("warnings", [])]
    return (*target.check.get("warnings", []), *(of_source if task.transfers else []))


def fooled_by(spec: AA, run: Run, cell: Row) -> dict[str, int]:
    """How many samples each part of AutoAttack fooled in a cell."""
    column = shards.read(run, cell["shard"], without=results_file.IMAGES)[f"{cell['epsilon']:g}/part"]
    return {part.name: int((column == number).sum()) for number, part in enumerate(spec.parts())}


def with_optimality(one: Curve, all_curves: Iterable[Curve]) -> Curve:
    """The curve with its optimality against the envelope of its norm."""
    rivals = of_norm(one.norm, all_curves)
    if len(rivals) < 2:
        return one
    worst = lower_envelope([rival.distances for rival in rivals])
    at_worst = [accuracy_at(worst, epsilon) for epsilon in one.epsilons]
    return replace(one, optimality=optimality(one.epsilons, one.accuracies, at_worst))


def of_norm(norm: str, all_curves: Iterable[Curve]) -> list[Curve]:
    return [one for one in all_curves if one.norm == norm]


def worst_case_curves(all_curves: list[Curve]) -> list[WorstCaseCurve]:
    """The worst case of each norm that several attacks of a run share, on the epsilons that any of them has."""
    return [
        made
        for norm in dict.fromkeys(one.norm for one in all_curves)
        if len(rivals := of_norm(norm, all_curves)) > 1
        for made in [worst_case(rivals)]
    ]


def worst_case(rivals: list[Curve]) -> WorstCaseCurve:
    """The envelope of curves of one norm and one run."""
    worst = lower_envelope([rival.distances for rival in rivals])
    epsilons = tuple(sorted({epsilon for rival in rivals for epsilon in rival.epsilons}))
    return WorstCaseCurve(
        rivals[0].run,
        rivals[0].norm,
        rivals[0].n,
        tuple(rival.attack + (f" from {rival.source}" if rival.source else "") for rival in rivals),
        epsilons,
        tuple(accuracy_at(worst, epsilon) for epsilon in epsilons),
        step_auc(worst, epsilons[-1]),
        tuple(dict.fromkeys(line for rival in rivals for line in rival.warnings)),
    )


def as_json(one: Curve | WorstCaseCurve) -> dict[str, Any]:
    """What the command line prints of it."""
    return {key: value for key, value in asdict(one).items() if key != "distances"}


@dataclass(frozen=True)
class RobustnessCurve:
    """Accuracies in [0, 1] by rising epsilon, 0 (clean) first, with Wilson's 95 % intervals; `seconds` of the sweep.

    `source` is the run that the images were made against, None for a white box; `autoattack` says whether it is
    AutoAttack; `checkpoint` is the digest of what was attacked, `n` how many test images, `warnings` what its check
    says against these figures.
    """

    attack: str
    norm: str
    source: str | None
    autoattack: bool
    schedule: str
    checkpoint: str
    n: int
    epsilons: tuple[float, ...]
    accuracies: tuple[float, ...]
    intervals: tuple[tuple[float, float] | None, ...]
    auc: float
    seconds: float
    warnings: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.attack} from {self.source}" if self.source else self.attack

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def at(self) -> dict[float, float]:
        """Epsilon -> accuracy."""
        return dict(zip(self.epsilons, self.accuracies, strict=True))


def robustness_curves(record: Record) -> list[RobustnessCurve]:
    """The results of each attack that count, in the journal's order."""
    return [_of(curve, tuple(warnings_of(curve[0], record.checks))) for curve in record.curves.values()]


def no_autoattack(curves: Sequence[RobustnessCurve]) -> bool:
    """Whether nothing tells how robust a run is to AutoAttack, without which accuracies may flatter it."""
    return not any(one.autoattack and one.source is None for one in curves)


def _of(curve: CurveRows, warnings: tuple[str, ...]) -> RobustnessCurve:
    first = curve[0]
    epsilons = (0.0, *(cell["epsilon"] for cell in curve))
    accuracies = (first["acc_nat"], *(cell["accuracy"] for cell in curve))
    return RobustnessCurve(
        first["attack"],
        first["norm"],
        first["source"],
        first["spec"]["name"] == "aa",
        first["schedule"],
        first["checkpoint"],
        first["n"],
        epsilons,
        accuracies,
        (None, *((cell["low"], cell["high"]) for cell in curve)),
        auc(epsilons, accuracies),
        sum(cell["seconds"] for cell in curve),
        warnings,
    )
