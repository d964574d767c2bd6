"""Areas of Table 2 that Table A2's grids cannot give, from the paper's own numbers."""

from dataclasses import dataclass
from functools import cache
from typing import Final

from afdctl.export.tables.paper import l2_epsilon, linf_epsilon, of_method, published, table_a2
from afdctl.runs.curves import auc
from afdctl.runs.record import Record

# Table 2 is printed with two decimals
ROUNDING: Final = 0.005
# columns of Table 1 that give a point of a curve of Table 2
POINTS: Final = {"pgd_linf": "pgd_linf_wb", "aa": "aa_linf_wb", "cw": "cw_l2_wb"}
# At L-infinity 0.5 all images can become the same grey one, so at most the most frequent digit is right: 1,135 of
# MNIST's 10,000 test images are ones (Carlini et al. 2019, arXiv:1902.06705, section 3).
GREY: Final = 0.5
MOST_FREQUENT: Final = {"mnist": 0.1135}
# the paper prints a rounded epsilon: 0.015 for 4/255
TOLERANCE: Final = 0.05


@dataclass(frozen=True)
class ImpossibleArea:
    """An area of Table 2 outside the bounds [low, high] of every falling curve on Table A2's grid."""

    dataset: str
    method: str
    attack: str
    published: float
    low: float
    high: float

    @property
    def reason(self) -> str:
        """Say which bound the printed area breaks."""
        if self.published < self.low:
            return f"{self.published:.2f} is below {self.low:.3f}, the least that Table 1's points leave on the grid"
        return f"{self.published:.2f} is above {self.high:.3f}, the most where one grey image fits all from L∞ 0.5 on"


def area_bounds(dataset: str, method: str, attack: str) -> tuple[float, float]:
    """Return the least and the largest area of a method under an attack.

    Robust accuracy falls as epsilon grows, begins at Table 1's clean accuracy and passes through its point.
    """
    settings, row = table_a2(dataset)[attack], of_method("table1", dataset, method)
    no_records: tuple[Record, ...] = ()
    point = row.get(POINTS.get(attack, ""))
    nominal = l2_epsilon(dataset) if attack == "cw" else linf_epsilon(dataset, no_records)
    low, high = [], []
    for epsilon in settings.epsilons:
        least, most = (0.0 if epsilon else row["clean"]), row["clean"]
        if epsilon and point is not None:
            least = point if epsilon <= nominal * (1 + TOLERANCE) else least
            most = min(most, point) if epsilon >= nominal * (1 - TOLERANCE) else most
        if settings.norm == "linf" and epsilon >= GREY:
            most = min(most, MOST_FREQUENT.get(dataset, most))
        low.append(min(least, row["clean"]))
        high.append(most)
    return auc(settings.epsilons, low), auc(settings.epsilons, high)


@cache
def impossible_areas() -> tuple[ImpossibleArea, ...]:
    """List the areas of Table 2 that no falling curve on Table A2's grid has, rounding included."""
    found = []
    for row in published()["table2"]:
        dataset, method = row["dataset"], row["method"]
        for attack in row.keys() - {"dataset", "method"}:
            low, high = area_bounds(dataset, method, attack)
            if not low - ROUNDING <= row[attack] <= high + ROUNDING:
                found.append(
                    ImpossibleArea(
                        dataset=dataset, method=method, attack=attack, published=row[attack], low=low, high=high
                    )
                )
    return tuple(sorted(found, key=lambda area: (area.dataset, area.method, area.attack)))


def areas_published() -> int:
    """Return the number of areas in Table 2."""
    return sum(len(row) - 2 for row in published()["table2"])
