"""Robustness curves: accuracy over epsilon with intervals and areas, built from a journal's cells. Fast to import.

The one model of "accuracy over epsilon": sweeps, tables, figures, the report and the dashboard read it.
`runs.selection` decides which cells make up a curve.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import fsum, sqrt
from typing import Any, Final, NamedTuple

from afdctl.formatting import format_epsilon
from afdctl.journal import Row

# 97.5 % quantile of the standard normal distribution
Z_95: Final = 1.959963984540054


class Interval(NamedTuple):
    low: float
    high: float

    def margin(self, value: float) -> float:
        """Return the distance from `value` to the farther end."""
        return max(value - self.low, self.high - value)


def wilson(successes: int, n: int, z: float = Z_95) -> Interval:
    """Compute Wilson's score interval of a proportion, by default at 95 %."""
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def accuracy_interval(accuracy: float, n: int) -> Interval:
    """Compute Wilson's 95 % interval of an accuracy in [0, 1] measured on n samples."""
    # the journal has the share; its product with n is a whole number up to rounding
    return wilson(round(accuracy * n), n)


def auc(epsilons: Sequence[float], accuracies: Sequence[float]) -> float:
    """Compute the paper's area under the curve: the trapezoid rule over a grid from 0, divided by its length.

    1 is perfect. Both sequences have the clean accuracy, at epsilon 0, first.
    """
    points = list(zip(epsilons, accuracies, strict=True))
    area = fsum((right - left) * (high + low) / 2 for (left, high), (right, low) in pairwise(points))
    return area / epsilons[-1]


@dataclass(frozen=True, eq=False)
class RobustnessCurve:
    """Accuracy in [0, 1] of one run under one attack by rising epsilon, with the clean accuracy at 0 first.

    `cells` are journal rows of the same settings, at least one, by rising epsilon. `warnings` come from the sanity
    checks of the model and, in a transfer attack, of the source, and from what a user's attack returned.
    """

    cells: tuple[Row, ...]
    warnings: tuple[str, ...] = ()

    @property
    def attack(self) -> str:
        return str(self.cells[0]["attack"])

    @property
    def norm(self) -> str:
        return str(self.cells[0]["norm"])

    @property
    def source(self) -> str | None:
        """The run that the adversarial images were made on; None for a white-box attack."""
        source: str | None = self.cells[0]["source"]
        return source

    @property
    def title(self) -> str:
        """`pgd_linf`, or `pgd_linf from digits_nt-001` for a transfer attack."""
        return f"{self.attack} from {self.source}" if self.source else self.attack

    @property
    def autoattack(self) -> bool:
        """Whether the attack is AutoAttack, under whatever label."""
        return bool(self.cells[0]["spec"]["name"] == "aa")

    @property
    def schedule(self) -> str:
        return str(self.cells[0]["schedule"])

    @property
    def verdict(self) -> str:
        """What decides an image's class: one pass, or for a random model the most frequent class of several."""
        evaluations = self.cells[0]["spec"].get("eot") or 1
        return "one pass" if evaluations == 1 else f"most frequent class in {evaluations} passes"

    @property
    def precision(self) -> str:
        """Precision of the attack's search; results are always verified in float32."""
        return str(self.cells[0]["precision"])

    @property
    def checkpoint(self) -> str:
        """Digest of the attacked network."""
        return str(self.cells[0]["checkpoint"])

    @property
    def n(self) -> int:
        """Number of test images."""
        return int(self.cells[0]["n"])

    @property
    def subset(self) -> str | None:
        """Which test images: `all`, a random `sample` or the `first`; None in a result of an older version."""
        subset: str | None = self.cells[0].get("subset")
        return subset

    @property
    def split_n(self) -> int | None:
        """Number of images of the whole test split, if the journal has it."""
        split_n: int | None = self.cells[0].get("split_n")
        return split_n

    @property
    def seconds(self) -> float:
        return float(sum(cell["seconds"] for cell in self.cells))

    @property
    def passes(self) -> float:
        """Forward and backward passes per image, over the whole grid."""
        return float(sum(cell["forwards"] + cell["backwards"] for cell in self.cells) / self.n)

    @cached_property
    def epsilons(self) -> tuple[float, ...]:
        return (0.0, *(cell["epsilon"] for cell in self.cells))

    @cached_property
    def accuracies(self) -> tuple[float, ...]:
        """Clean accuracy on the attacked images, then the accuracy at each epsilon."""
        return (self.cells[0]["acc_nat"], *(cell["accuracy"] for cell in self.cells))

    @cached_property
    def intervals(self) -> tuple[Interval, ...]:
        """Wilson's 95 % interval of each accuracy."""
        clean = accuracy_interval(self.accuracies[0], self.n)
        return (clean, *(Interval(cell["low"], cell["high"]) for cell in self.cells))

    @cached_property
    def auc(self) -> float:
        return auc(self.epsilons, self.accuracies)

    def nearest_cell(self, epsilon: float) -> Row | None:
        """Return the cell nearest to an epsilon, if it is within 5 % of it."""
        row = min(self.cells, key=lambda cell: abs(cell["epsilon"] - epsilon))
        # the paper rounds: its 0.015 is 4/255 = 0.0157, almost 5 % more
        return row if abs(row["epsilon"] - epsilon) <= 0.05 * epsilon else None

    def by_epsilon(self) -> dict[float, float]:
        """Map each epsilon to its accuracy."""
        return dict(zip(self.epsilons, self.accuracies, strict=True))

    def as_json(self) -> dict[str, Any]:
        """Return what commands print with --json."""
        return {name: getattr(self, name) for name in JSON_FIELDS}


JSON_FIELDS: Final = (
    "attack",
    "norm",
    "source",
    "autoattack",
    "schedule",
    "precision",
    "verdict",
    "checkpoint",
    "subset",
    "n",
    "split_n",
    "epsilons",
    "accuracies",
    "intervals",
    "auc",
    "passes",
    "seconds",
    "warnings",
)


def fault_warnings(cells: Sequence[Row]) -> list[str]:
    """Describe what was wrong with the x' of a user's attack in the cells of its curve; empty for other attacks."""
    counts = [cell["faults"] | {"epsilon": cell["epsilon"], "n": cell["n"]} for cell in cells if cell.get("faults")]
    title, lines = cells[0]["attack"], []

    def places(fault: str) -> str:
        found = [of for of in counts if of[fault]]
        return ", ".join(f"{of[fault]} of {of['returned']} x' at {format_epsilon(of['epsilon'])}" for of in found)

    if broken := places("nan"):
        points = max(100 * of["nan"] / of["n"] for of in counts)
        lines.append(f"{title}: NaN in {broken}; x counts instead: accuracy is up to {points:.1f} points too high")
    if outside := places("outside"):
        lines.append(f"{title}: {outside} were outside the ball or [0, 1], and were clipped")
    if places("unqueried") and all(of["unqueried"] == of["returned"] for of in counts):
        lines.append(f"{title}: never calls the model, so its x' do not depend on it")
    return lines


def lacks_autoattack(curves: Iterable[RobustnessCurve]) -> bool:
    """Whether no curve is white-box AutoAttack, so that the accuracies may overestimate robustness."""
    return not any(curve.autoattack and curve.source is None for curve in curves)


def describe_mixed_grids(grids: Iterable[tuple[str, Sequence[float]]]) -> str | None:
    """Name the curves whose AUC cannot be compared, given each curve's title and grid; None for a single grid."""
    titles: dict[tuple[float, ...], list[str]] = {}
    for title, epsilons in grids:
        titles.setdefault(tuple(epsilons), []).append(title)
    if len(titles) < 2:
        return None
    groups = [
        f"{', '.join(dict.fromkeys(group))} over {' '.join(map(format_epsilon, grid))}"
        for grid, group in titles.items()
    ]
    return f"AUC is the mean accuracy over a curve's own grid, and does not compare across grids: {'; '.join(groups)}."
