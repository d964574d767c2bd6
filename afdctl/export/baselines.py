"""Published results of baselines, and what runs measured of the same networks under the same attacks."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any, Final, NamedTuple

from afdctl.export.groups import Gap, Group, sweep_gap
from afdctl.export.tables.base import Cell
from afdctl.export.tables.paper import Measurement, accuracy_at, clean_accuracy
from afdctl.formatting import NORM_LABELS, format_epsilon
from afdctl.recipe import Recipe, toml_source
from afdctl.recipe.errors import validate
from afdctl.recipe.fields import Count, Fraction, Table
from afdctl.recipe.load import PACKAGE
from afdctl.recipe.model import DEFAULT_WIDTH
from afdctl.runs.record import Record

DATASET: Final = "cifar10"
# 0.031 and 8/255 are the same ball, as in Table 1
TOLERANCE: Final = 0.05


class ReportedAttack(Table):
    """PGD, as far as the source describes it."""

    steps: Count
    step_size: Fraction | None = None
    restarts: Count = 1


class PublishedRow(Table):
    """A row of baselines.toml, which explains its keys; accuracies in percent."""

    method: str
    paper: str
    encoder: str
    extra_data: str = ""
    epsilon: Fraction
    trainings: Count = 1
    clean: float
    reported: float | None = None
    reported_attack: ReportedAttack | None = None
    aa: float
    by: str
    source: str


class PublishedNumber(NamedTuple):
    """A published number in [0, 1], and a group's measurement; `reason` says why they cannot be compared."""

    row: PublishedRow
    title: str
    published: float
    cell: Cell
    reason: str


class _Rows(Table):
    row: list[PublishedRow]


@cache
def published() -> tuple[PublishedRow, ...]:
    """Read baselines.toml."""
    layer = toml_source.read(PACKAGE / "baselines.toml")
    return tuple(validate(_Rows, layer.values, [layer]).row)


def numbers(group: Group) -> Iterator[PublishedNumber]:
    """Yield the published numbers of a group's method on CIFAR-10."""
    chosen = group.records[0].recipe if group.records else None
    if chosen is None or group.dataset != DATASET:
        return
    for row in published():
        if row.method == group.method:
            yield from _numbers(group, row, _other_training(chosen, row))


def _numbers(group: Group, row: PublishedRow, other_training: str) -> Iterator[PublishedNumber]:
    def number(title: str, percent: float, attack: str, reason: str = "") -> PublishedNumber:
        measure = partial(_measure, attack, row) if attack else clean_accuracy
        # any attack measures clean accuracy
        cell = Cell.of_group(group, measure, partial(_missing, attack or "aa", row), percent / 100)
        return PublishedNumber(
            row=row, title=title, published=percent / 100, cell=cell, reason=other_training or reason
        )

    yield number("Clean", row.clean, "")
    yield number(f"AA-L∞ {format_epsilon(row.epsilon)}", row.aa, "aa")
    if row.reported is not None:
        attack = row.reported_attack
        described = attack is not None and attack.step_size is not None
        title = f"PGD-{attack.steps}" if attack else "reported"
        yield number(title, row.reported, "pgd_linf", "" if described else f"{row.by} does not describe its attack")


def _other_training(recipe: Recipe, row: PublishedRow) -> str:
    """Return what makes a training another one than the published one; empty for nothing."""
    model, attack = recipe.model, recipe.attack
    if model.encoder != row.encoder or model.width not in (None, DEFAULT_WIDTH):
        return f"another network: {row.encoder}, not {model.size}"
    if model.norm != "none" and model.cosine_scale is None:
        return "another network: the published one does not normalise features (model.norm)"
    if row.extra_data:
        return f"trained with {row.extra_data}"
    if recipe.data.extra or recipe.data.train_limit:
        return f"other training images: data.{'extra' if recipe.data.extra else 'train_limit'}"
    if attack.union or attack.norm != "linf" or abs(attack.epsilon - row.epsilon) > TOLERANCE * row.epsilon:
        balls = " and ".join(f"{NORM_LABELS[norm]} {format_epsilon(radius)}" for norm, radius in attack.balls.items())
        return f"another threat model: L∞ {format_epsilon(row.epsilon)}, not {balls}"
    return ""


def _measure(name: str, row: PublishedRow, record: Record) -> Measurement | None:
    """Return accuracy under an attack at the published epsilon, with the published settings if the run has them."""
    found = []
    for (_, source), curve in record.curves.items():
        spec = curve.cells[0]["spec"]
        if source or curve.norm != "linf" or spec["name"] != name:
            continue
        if measurement := accuracy_at(record, curve, row.epsilon):
            attack = row.reported_attack
            if name == "pgd_linf" and attack:
                measurement = replace(measurement, differing=_differing(spec, attack, row.epsilon))
            found.append(measurement)
    return min(found, key=lambda measurement: bool(measurement.differing), default=None)


def _differing(spec: dict[str, Any], attack: ReportedAttack, epsilon: float) -> str:
    steps = spec["steps"]
    step = spec.get("step_size") or (spec.get("rel_step") or 2.5 / steps) * epsilon
    pairs = {"steps": (steps, attack.steps), "restarts": (spec.get("restarts", 1), attack.restarts)}
    differing = [f"{name} {ours} ({theirs})" for name, (ours, theirs) in pairs.items() if ours != theirs]
    if attack.step_size and abs(step - attack.step_size) > TOLERANCE * attack.step_size:
        differing.append(f"step_size {format_epsilon(step)} ({format_epsilon(attack.step_size)})")
    return ", ".join(differing)


def _missing(name: str, row: PublishedRow, record: Record) -> Gap:
    options, attack = f" --epsilons 0,{format_epsilon(row.epsilon)}", row.reported_attack
    if name == "pgd_linf" and attack and attack.step_size:
        settings = {"steps": attack.steps, "step_size": format_epsilon(attack.step_size), "restarts": attack.restarts}
        options += "".join(f" --set {key}={value}" for key, value in settings.items())
    return sweep_gap(record, name, options)
