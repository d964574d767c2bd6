"""A run's accuracy under each attack that was carried out, as its journal tells it: for tables, reports and JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from afdctl.store.cells import Curve
from afdctl.store.checks import warnings_of
from afdctl.store.record import Record
from afdctl.sweep.figures import auc


@dataclass(frozen=True)
class Attacked:
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


def attacked(record: Record) -> list[Attacked]:
    """The results of each attack that count, in the journal's order."""
    return [_of(curve, tuple(warnings_of(curve[0], record.checks))) for curve in record.curves.values()]


def no_autoattack(curves: Sequence[Attacked]) -> bool:
    """Whether nothing tells how robust a run is to AutoAttack, without which accuracies may flatter it."""
    return not any(one.autoattack and one.source is None for one in curves)


def _of(curve: Curve, warnings: tuple[str, ...]) -> Attacked:
    first = curve[0]
    epsilons = (0.0, *(cell["epsilon"] for cell in curve))
    accuracies = (first["acc_nat"], *(cell["accuracy"] for cell in curve))
    return Attacked(
        first["attack"], first["norm"], first["source"], first["spec"]["name"] == "aa", first["schedule"],
        first["checkpoint"], first["n"], epsilons, accuracies,
        (None, *((cell["low"], cell["high"]) for cell in curve)),
        auc(epsilons, accuracies), sum(cell["seconds"] for cell in curve), warnings,
    )  # fmt: skip
