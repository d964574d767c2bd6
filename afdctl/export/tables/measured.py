"""One figure of one run, with all that it depends on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from afdctl.errors import RecipeError
from afdctl.events import Row
from afdctl.profile import load
from afdctl.store.cells import Curve, pointers
from afdctl.store.record import Record
from afdctl.sweep.figures import Interval, auc, wilson

NOT_SETTINGS = {"label", "datasets", "epsilons", "schedule", "early_stop", "batch_size", "device", "library"}
"""What two curves may differ in and still be of one attack; a transfer goes on where a white-box attack may stop."""


@dataclass(frozen=True)
class Measured:
    """`interval` is Wilson's at 95 %, of an area the widest below it; `checkpoint` is best, last or a digest's start.

    `n` counts test images, `seed` is the attack's, `departs` says where its settings are not Table A2's, `precision` is
    that of its search.
    """

    value: float
    n: int | None = None
    interval: Interval | None = None
    seed: int | None = None
    checkpoint: str | None = None
    departs: str = ""
    epsilon: float | None = None
    source: str | None = None
    precision: str | None = None

    @property
    def margin(self) -> float:
        """How far the interval's ends lie from the figure, at most."""
        return max(self.value - self.interval.low, self.interval.high - self.value) if self.interval else 0.0


def clean(record: Record) -> Measured | None:
    """Accuracy on natural test images: of a cell, or of the test at the end of the training."""
    row = record.clean()
    if row is None:
        return None
    accuracy, n = row["acc_nat"], row["n"]
    return Measured(accuracy, n, wilson(round(accuracy * n), n), None, checkpoint_of(record, row))


def at(record: Record, curve: Curve, epsilon: float) -> Measured | None:
    """Accuracy at the curve's grid point next to `epsilon`, if one lies within 5 % of it."""
    row = min(curve, key=lambda row: abs(row["epsilon"] - epsilon), default=None)
    if row is None or abs(row["epsilon"] - epsilon) > 0.05 * epsilon:
        return None
    return Measured(
        row["accuracy"], row["n"], Interval(row["low"], row["high"]), row["seed"], checkpoint_of(record, row),
        departs(row, record.dataset), row["epsilon"], row["source"],
        precision_of(row),
    )  # fmt: skip


def area(record: Record, curve: Curve) -> Measured:
    """The paper's area under the curve, over Table A2's grid where the curve has all of it."""
    of_paper = table_a2(record.dataset).get(curve[0]["attack"])
    grid = of_paper.epsilons if of_paper else ()
    exact = {epsilon: row for row in curve for epsilon in grid if abs(row["epsilon"] - epsilon) < 1e-9}
    rows: Sequence[Row] = [exact[epsilon] for epsilon in grid[1:]] if grid and set(grid[1:]) <= set(exact) else curve
    epsilons = [0.0, *(row["epsilon"] for row in rows)]
    accuracies = [rows[0]["acc_nat"], *(row["accuracy"] for row in rows)]
    value = auc(epsilons, accuracies)
    widest = max(max(row["accuracy"] - row["low"], row["high"] - row["accuracy"]) for row in rows)
    first = rows[0]
    settings = departs(first, record.dataset)
    if rows is curve:
        settings = ", ".join(filter(None, [settings, f"grid {' '.join(f'{epsilon:.4g}' for epsilon in epsilons)}"]))
    return Measured(
        value, first["n"], Interval(value - widest, value + widest), first["seed"], checkpoint_of(record, first),
        settings, precision=precision_of(first),
    )  # fmt: skip


def precision_of(cell: Row) -> str:
    """What a cell was searched in; cells from before there was a choice do not say so."""
    return str(cell.get("precision", "float32"))


def checkpoint_of(record: Record, row: Row) -> str | None:
    """`best` or `last` where the row's checkpoint is that of its run now, else the start of its digest."""
    digest: str = row["checkpoint"]
    if record.recipe is None:
        return None
    return digest if digest in ("best", "last") else pointers(record.rows).get(digest, digest[:8])


@cache
def table_a2(dataset: str) -> dict[str, Any]:
    """Attack -> its settings in Table A2 of the paper; none for a data set that the profile has no attack for."""
    try:
        return {spec.title: spec for spec in load.load("paper-A2", dataset).attacks}
    except RecipeError:
        return {}


def departs(row: Row, dataset: str) -> str:
    """Where an attack's settings are not those of Table A2: `steps 100 (40)`."""
    of_paper = table_a2(dataset).get(row["attack"])
    if of_paper is None:
        return ""
    settled = of_paper.model_dump(mode="json")
    differing = [key for key, value in row["spec"].items() if key not in NOT_SETTINGS and settled.get(key) != value]
    return ", ".join(f"{key} {row['spec'][key]} ({settled.get(key)})" for key in differing)
