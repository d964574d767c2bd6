"""The paper's published numbers and settings, and runs measured as the paper measures."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import tomli

from afdctl import recipe
from afdctl.errors import RecipeError
from afdctl.image_counts import format_subset
from afdctl.journal import Row as Event
from afdctl.recipe.load import PACKAGE, packaged
from afdctl.runs.curves import Interval, RobustnessCurve, accuracy_interval, auc
from afdctl.runs.record import Record
from afdctl.runs.selection import checkpoint_name
from afdctl.suites import load

# tables published in percent
PERCENT_TABLES: Final = ("table1", "tableA3", "tableA5")
# Table 1's 0.3, 0.031 and 0.015, as Table A2's grids have them
LINF: Final = {"mnist": 0.3, "cifar10": 8 / 255, "cifar100": 8 / 255, "tiny_imagenet": 4 / 255}
DEFAULT_LINF: Final = 8 / 255
# C&W's epsilon of 1; on the digits' 8 x 8 pixels 8/28 of that, as suite paper-A2 scales it
L2: Final = {"digits": 0.29}
# keys of an attack's settings that do not change what is measured
IGNORED_SETTINGS: Final = {
    "label",
    "datasets",
    "epsilons",
    "schedule",
    "early_stop",
    "batch_size",
    "device",
    "library",
}


@cache
def published() -> dict[str, Any]:
    """Read paper.toml. The result is cached, so callers must not change it."""
    return tomli.loads((PACKAGE / "paper.toml").read_text(encoding="utf-8"))


@cache
def table_a2(dataset: str) -> dict[str, Any]:
    """Return the settings of each attack in Table A2; empty for a data set that suite paper-A2 does not cover."""
    try:
        return {spec.title: spec for spec in load.load("paper-A2", dataset).attacks}
    except RecipeError:
        return {}


def published_row(table: str, **labels: str) -> dict[str, Any]:
    """Return the published values by column of the row with these labels; shares in [0, 1]; empty for no such row."""
    for entry in published()[table]:
        if all(entry.get(key) == value for key, value in labels.items()):
            values = {key: value for key, value in entry.items() if key not in labels}
            return {key: value / 100 for key, value in values.items()} if table in PERCENT_TABLES else values
    return {}


def of_method(table: str, dataset: str, method: str) -> dict[str, Any]:
    """Return the published row of a method; Tables A3 and A4 print AFD without its variant."""
    is_afd = method in ("AFD-DCGAN", "AFD-WGAN")
    return published_row(table, dataset=dataset, method=method) or (
        published_row(table, dataset=dataset, method="AFD") if is_afd else {}
    )


def linf_epsilon(dataset: str, records: Iterable[Record]) -> float:
    """Return the L-infinity epsilon of Tables 1, A3 and A5.

    For a data set that the paper does not use, it is the most common epsilon among these trainings.
    """
    if dataset in LINF:
        return LINF[dataset]
    trained_epsilons = [
        record.recipe.attack.epsilon
        for record in records
        if record.recipe and record.dataset == dataset and record.recipe.attack.norm == "linf"
    ]
    if trained_epsilons:
        return Counter(trained_epsilons).most_common(1)[0][0]
    name = f"{dataset}_wgan"
    return recipe.load(name).attack.epsilon if name in packaged() else DEFAULT_LINF


def l2_epsilon(dataset: str) -> float:
    """Return the L2 epsilon of Table 1."""
    return L2.get(dataset, 1.0)


def on_grid(dataset: str, attack: str, epsilon: float) -> bool:
    """Return whether Table A2's grid of an attack contains the epsilon, to within 5 %."""
    settings = table_a2(dataset).get(attack)
    return settings is not None and any(abs(point - epsilon) <= 0.05 * epsilon for point in settings.epsilons)


@dataclass(frozen=True)
class Measurement:
    """A metric of one run.

    `n` counts test images, `subset` says how they were chosen. `interval` is Wilson's at 95 %, of an area the widest
    below it. `seed` is the attack's, `checkpoint` best, last or the start of a digest, `precision` that of the attack's
    search. `differing` lists settings that differ from Table A2.
    """

    value: float
    n: int | None = None
    subset: str | None = None
    interval: Interval | None = None
    seed: int | None = None
    checkpoint: str | None = None
    differing: str = ""
    epsilon: float | None = None
    source: str | None = None
    precision: str | None = None

    @property
    def images(self) -> str | None:
        """Number and choice of the test images: `360`, `100 (random sample)`."""
        return None if self.n is None else format_subset({"n": self.n, "subset": self.subset})

    @property
    def margin(self) -> float:
        """Largest distance from the value to an end of its interval."""
        return self.interval.margin(self.value) if self.interval else 0.0


def clean_accuracy(record: Record) -> Measurement | None:
    """Return accuracy on natural test images, from a cell or from the test at the end of the training."""
    row = record.clean()
    if row is None:
        return None
    accuracy, n = row["acc_nat"], row["n"]
    interval = accuracy_interval(accuracy, n)
    checkpoint = checkpoint_of(record, row)
    return Measurement(accuracy, n=n, subset=row.get("subset"), interval=interval, checkpoint=checkpoint)


def accuracy_at(record: Record, curve: RobustnessCurve, epsilon: float) -> Measurement | None:
    """Return accuracy at the curve's grid point nearest to `epsilon`, if one is within 5 % of it."""
    row = curve.nearest_cell(epsilon)
    if row is None:
        return None
    return Measurement(
        row["accuracy"],
        n=row["n"],
        subset=row.get("subset"),
        interval=Interval(row["low"], row["high"]),
        seed=row["seed"],
        checkpoint=checkpoint_of(record, row),
        differing=differing_settings(row, record.dataset),
        epsilon=row["epsilon"],
        source=row["source"],
        precision=row["precision"],
    )


def area_under_curve(record: Record, curve: RobustnessCurve) -> Measurement:
    """Return the paper's area under the curve, over Table A2's grid where the curve has all of it."""
    settings = table_a2(record.dataset).get(curve.attack)
    grid = settings.epsilons if settings else ()
    exact = {epsilon: row for row in curve.cells for epsilon in grid if abs(row["epsilon"] - epsilon) < 1e-9}
    # the first epsilon of a grid is 0, whose accuracy every cell has
    complete = grid and set(grid[1:]) <= set(exact)
    rows: Sequence[Event] = [exact[epsilon] for epsilon in grid[1:]] if complete else curve.cells
    epsilons = [0.0, *(row["epsilon"] for row in rows)]
    accuracies = [rows[0]["acc_nat"], *(row["accuracy"] for row in rows)]
    value = auc(epsilons, accuracies)
    # the area cannot be further off than its least certain point
    widest = max(Interval(row["low"], row["high"]).margin(row["accuracy"]) for row in rows)
    first = rows[0]
    differing = differing_settings(first, record.dataset)
    if rows is curve.cells:
        differing = ", ".join(filter(None, [differing, f"grid {' '.join(f'{epsilon:.4g}' for epsilon in epsilons)}"]))
    return Measurement(
        value,
        n=first["n"],
        subset=first.get("subset"),
        interval=Interval(value - widest, value + widest),
        seed=first["seed"],
        checkpoint=checkpoint_of(record, first),
        differing=differing,
        precision=curve.precision,
    )


def checkpoint_of(record: Record, row: Event) -> str | None:
    """Return `best` or `last` for a checkpoint that the run still calls so, else the start of its digest."""
    return None if record.recipe is None else checkpoint_name(record.rows, row["checkpoint"])


def differing_settings(row: Event, dataset: str) -> str:
    """List an attack's settings that differ from Table A2: `steps 100 (40)`."""
    settings = table_a2(dataset).get(row["attack"])
    if settings is None:
        return ""
    published = settings.model_dump(mode="json")
    keys = [key for key, value in row["spec"].items() if key not in IGNORED_SETTINGS and published.get(key) != value]
    return ", ".join(f"{key} {_setting_text(row['spec'][key])} ({_setting_text(published.get(key))})" for key in keys)


def _setting_text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
