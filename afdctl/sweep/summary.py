"""Cells summed up: a curve for each attack, the worst case of each norm, and the areas below them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from afdctl.events import Row
from afdctl.profile.schema import AA
from afdctl.profile.spec import Spec
from afdctl.store import results, shards
from afdctl.store.run import Run
from afdctl.sweep.figures import Array, accuracy_at, auc, envelope, optimality, step_auc
from afdctl.sweep.plan import Task


@dataclass(frozen=True)
class Curve:
    """Accuracy of one run under one attack over its grid, 0 (clean) first."""

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


@dataclass(frozen=True)
class Envelope:
    """The point-wise worst case over the white-box attacks of one norm: a sample counts if all left it right."""

    run: str
    norm: str
    n: int
    attacks: tuple[str, ...]
    epsilons: tuple[float, ...]
    accuracies: tuple[float, ...]
    auc_step: float


def of_tasks(tasks: Iterable[Task], rows: Mapping[str, Row]) -> dict[str, list[Curve]]:
    """Run -> the curves of a plan's cells, in the order of its tasks."""
    made: dict[str, list[Curve]] = {}
    for task in tasks:
        for target in task.targets:
            cells = [rows[task.key(target, epsilon)] for epsilon in task.epsilons]
            made.setdefault(target.name, []).append(curve(task, target.run, cells))
    return {run: [rated(one, of_run) for one in of_run] for run, of_run in made.items()}


def curve(task: Task, run: Run, rows: list[Row]) -> Curve:
    """One attack's cells, ascending, as a curve; the plan names it, as a cell may be from a sweep with other labels."""
    arrays = {name: shards.read(run, name, without=results.IMAGES) for name in {row["shard"] for row in rows}}
    columns = [(arrays[row["shard"]], f"{row['epsilon']:g}") for row in rows]
    distances: Array = np.minimum.reduce([shard[f"{epsilon}/distance"] for shard, epsilon in columns])
    accuracies = (rows[0]["acc_nat"], *(row["accuracy"] for row in rows))
    return Curve(
        run=run.name,
        attack=task.spec.title,
        norm=task.spec.norm,
        source=task.source.name if task.transfers else None,
        schedule=task.spec.order,
        n=task.n,
        epsilons=task.spec.epsilons,
        accuracies=accuracies,
        auc=auc(task.spec.epsilons, accuracies),
        auc_step=step_auc(distances, task.epsilons[-1]),
        passes=sum(row["forwards"] + row["backwards"] for row in rows) / task.n,
        seconds=sum(row["seconds"] for row in rows),
        parts=fooled_by(task.spec, *columns[-1]),
        distances=distances,
        precision=task.precision,
    )


def fooled_by(spec: Spec, shard: shards.Arrays, epsilon: str) -> dict[str, int] | None:
    """How many samples each part of a composed attack fooled at an epsilon."""
    if not isinstance(spec, AA):
        return None
    return {part.name: int((shard[f"{epsilon}/part"] == number).sum()) for number, part in enumerate(spec.parts())}


def rated(one: Curve, all_curves: Iterable[Curve]) -> Curve:
    """The curve with its optimality against the envelope of its norm."""
    rivals = white_box_of(one.norm, all_curves)
    if one.source is not None or len(rivals) < 2:
        return one
    worst = envelope([rival.distances for rival in rivals])
    at_worst = [accuracy_at(worst, epsilon) for epsilon in one.epsilons]
    return replace(one, optimality=optimality(one.epsilons, one.accuracies, at_worst))


def white_box_of(norm: str, all_curves: Iterable[Curve]) -> list[Curve]:
    return [one for one in all_curves if one.norm == norm and one.source is None]


def envelopes(all_curves: list[Curve]) -> list[Envelope]:
    """The worst case of each norm that several attacks of a run share, on the epsilons that any of them has."""
    return [
        made
        for norm in dict.fromkeys(one.norm for one in all_curves)
        if len(rivals := white_box_of(norm, all_curves)) > 1
        for made in [worst_case(rivals)]
    ]


def worst_case(rivals: list[Curve]) -> Envelope:
    """The envelope of curves of one norm and one run."""
    worst = envelope([rival.distances for rival in rivals])
    epsilons = tuple(sorted({epsilon for rival in rivals for epsilon in rival.epsilons}))
    return Envelope(
        rivals[0].run,
        rivals[0].norm,
        rivals[0].n,
        tuple(rival.attack for rival in rivals),
        epsilons,
        tuple(accuracy_at(worst, epsilon) for epsilon in epsilons),
        step_auc(worst, epsilons[-1]),
    )


def as_json(one: Curve | Envelope) -> dict[str, Any]:
    """What the command line prints of it."""
    return {key: value for key, value in asdict(one).items() if key != "distances"}
