"""Cells summed up: a curve for each attack, the worst case of each norm, and the areas below them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from afdctl.events import Row
from afdctl.profile.schema import AA
from afdctl.profile.spec import Spec
from afdctl.store import shards
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
            made.setdefault(target.name, []).append(curve(target.run, cells, parts_of(task.spec)))
    return {run: [rated(one, of_run) for one in of_run] for run, of_run in made.items()}


def parts_of(spec: Spec) -> tuple[str, ...] | None:
    """The names of a composed attack's parts."""
    return tuple(part.name for part in spec.parts()) if isinstance(spec, AA) else None


def curve(run: Run, rows: list[Row], names: tuple[str, ...] | None) -> Curve:
    """One attack's cells, ascending, as a curve."""
    arrays = {name: shards.read(run, name) for name in {row["shard"] for row in rows}}
    columns = [(arrays[row["shard"]], f"{row['epsilon']:g}") for row in rows]
    distances: Array = np.minimum.reduce([shard[f"{epsilon}/distance"] for shard, epsilon in columns])
    epsilons = (0.0, *(row["epsilon"] for row in rows))
    accuracies = (rows[0]["acc_nat"], *(row["accuracy"] for row in rows))
    shard, largest = columns[-1]
    return Curve(
        run=run.name,
        **{key: rows[0][key] for key in ("attack", "norm", "source", "schedule", "n")},
        epsilons=epsilons,
        accuracies=accuracies,
        auc=auc(epsilons, accuracies),
        auc_step=step_auc(distances, epsilons[-1]),
        passes=sum(row["forwards"] + row["backwards"] for row in rows) / rows[0]["n"],
        seconds=sum(row["seconds"] for row in rows),
        parts=None
        if names is None
        else {name: int((shard[f"{largest}/part"] == number).sum()) for number, name in enumerate(names)},
        distances=distances,
    )


def rated(one: Curve, all_curves: Iterable[Curve]) -> Curve:
    """The curve with its optimality against the envelope of its norm."""
    rivals = white_box_of(one.norm, all_curves)
    if one.source is not None or len(rivals) < 2:
        return one
    largest = min(one.epsilons[-1], *(rival.epsilons[-1] for rival in rivals))
    worst = envelope({rival.attack: rival.distances for rival in rivals})
    return Curve(**{**vars(one), "optimality": optimality(one.distances, worst, largest)})


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
    worst = envelope({rival.attack: rival.distances for rival in rivals})
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
