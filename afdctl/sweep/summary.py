"""Cells summed up: a curve for each attack, the worst case of each norm, and the areas below them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from afdctl.events import Row
from afdctl.profile.schema import AA
from afdctl.store import results, shards
from afdctl.store.checks import warnings_of
from afdctl.store.record import Record
from afdctl.store.run import Run
from afdctl.sweep.cells import Rows
from afdctl.sweep.figures import Array, accuracy_at, auc, envelope, optimality, step_auc
from afdctl.sweep.plan import Task
from afdctl.sweep.subject import Subject


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
class Envelope:
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
    targets: dict[str, Subject] = {}
    for task in tasks:
        for target in task.targets:
            targets[target.name] = target
            cells = [rows[target.name, task.key(target, epsilon)] for epsilon in task.epsilons]
            made.setdefault(target.name, []).append(curve(task, target, cells))
    every = {name: [*curves, *earlier_transfers(targets[name], curves)] for name, curves in made.items()}
    return {run: [rated(one, of_run) for one in of_run] for run, of_run in every.items()}


def earlier_transfers(target: Subject, shown: list[Curve]) -> list[Curve]:
    """What earlier sweeps measured with images made against other models, on as many images and in the same norms.

    Where such images fool a network that its own gradients do not, the gradients are masked.
    """
    there, norms = {(one.attack, one.source) for one in shown}, {one.norm for one in shown}
    found = Record.of(target.run)
    return [
        replace(of_rows(target, cells), warnings=tuple(warnings_of(cells[0], found.checks)))
        for (attack, source), cells in found.curves.items()
        if source and (attack, source) not in there and cells[0]["norm"] in norms
        and (cells[0]["checkpoint"], cells[0]["n"]) == (target.digest, shown[0].n)
        and all(shards.intact(target.run, cell["shard"]) for cell in cells)
    ]  # fmt: skip


def curve(task: Task, target: Subject, rows: list[Row]) -> Curve:
    """One attack's cells, ascending, as a curve; the plan names it, as a cell may be from a sweep with other labels."""
    return replace(
        of_rows(target, rows),
        attack=task.spec.title,
        source=task.source.name if task.transfers else None,
        parts=fooled_by(task.spec, target.run, rows[-1]) if isinstance(task.spec, AA) else None,
        warnings=check_warnings(task, target),
    )


def of_rows(target: Subject, rows: list[Row]) -> Curve:
    """The journal's cells of one attack, ascending, as a curve."""
    first, n = rows[0], rows[0]["n"]
    arrays = {name: shards.read(target.run, name, without=results.IMAGES) for name in {row["shard"] for row in rows}}
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


def check_warnings(task: Task, target: Subject) -> tuple[str, ...]:
    """What the checks say against a target's figures, and in a transfer against the images' source."""
    of_source = [f"{task.source.name}: {line}" for line in task.source.check.get("warnings", [])]
    return (*target.check.get("warnings", []), *(of_source if task.transfers else []))


def fooled_by(spec: AA, run: Run, cell: Row) -> dict[str, int]:
    """How many samples each part of AutoAttack fooled in a cell."""
    column = shards.read(run, cell["shard"], without=results.IMAGES)[f"{cell['epsilon']:g}/part"]
    return {part.name: int((column == number).sum()) for number, part in enumerate(spec.parts())}


def rated(one: Curve, all_curves: Iterable[Curve]) -> Curve:
    """The curve with its optimality against the envelope of its norm."""
    rivals = of_norm(one.norm, all_curves)
    if len(rivals) < 2:
        return one
    worst = envelope([rival.distances for rival in rivals])
    at_worst = [accuracy_at(worst, epsilon) for epsilon in one.epsilons]
    return replace(one, optimality=optimality(one.epsilons, one.accuracies, at_worst))


def of_norm(norm: str, all_curves: Iterable[Curve]) -> list[Curve]:
    return [one for one in all_curves if one.norm == norm]


def envelopes(all_curves: list[Curve]) -> list[Envelope]:
    """The worst case of each norm that several attacks of a run share, on the epsilons that any of them has."""
    return [
        made
        for norm in dict.fromkeys(one.norm for one in all_curves)
        if len(rivals := of_norm(norm, all_curves)) > 1
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
        tuple(rival.attack + (f" from {rival.source}" if rival.source else "") for rival in rivals),
        epsilons,
        tuple(accuracy_at(worst, epsilon) for epsilon in epsilons),
        step_auc(worst, epsilons[-1]),
        tuple(dict.fromkeys(line for rival in rivals for line in rival.warnings)),
    )


def as_json(one: Curve | Envelope) -> dict[str, Any]:
    """What the command line prints of it."""
    return {key: value for key, value in asdict(one).items() if key != "distances"}
