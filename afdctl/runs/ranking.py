"""Rank finished trainings by their accuracy on the hold-out, the seeds of one recipe together."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Final

from afdctl.errors import RecipeError
from afdctl.runs.provenance import differing_keys, flattened
from afdctl.runs.record import Record

# What decides which accuracy is measured on the hold-out; runs that differ in one of these cannot be ranked.
MEASUREMENT: Final = ("data.dataset", "data.path", "data.holdout", "attack.norm", "attack.epsilon")
MEASUREMENT_TABLES: Final = ("attack.union.", "validation.")
PROBE, APGD_CE = "probe", "APGD-CE"


@dataclass(frozen=True)
class Candidate:
    """A finished training, and the accuracies in [0, 1] of its best epoch on `n` hold-out images under `attack`."""

    record: Record
    attack: str
    accuracy: float
    clean: float
    n: int

    @classmethod
    def of(cls, record: Record) -> "Candidate | None":
        """Return the candidate of a run; None if it has not finished, or was never validated."""
        best = [row for row in record.of_kind("epoch") if row["best"] and "acc_adv" in row]
        if not best or not record.recipe or not any(row["reason"] == "finished" for row in record.of_kind("end")):
            return None
        row = best[-1]
        attack = PROBE if "acc_probe" in row else APGD_CE
        accuracy: float = row["acc_probe" if attack == PROBE else "acc_adv"]
        return cls(record=record, attack=attack, accuracy=accuracy, clean=row["acc_nat"], n=row["n"])

    @property
    def values(self) -> dict[str, Any]:
        """The values of the recipe, by `table.key`."""
        assert self.record.recipe
        return flattened(self.record.recipe.model_dump(mode="json"))


@dataclass(frozen=True)
class Setting:
    """The runs of one recipe with several seeds, and the values in which it differs from the other settings."""

    runs: Sequence[Candidate]
    values: dict[str, Any]

    @property
    def accuracy(self) -> float:
        return fmean(run.accuracy for run in self.runs)

    @property
    def clean(self) -> float:
        return fmean(run.clean for run in self.runs)

    @property
    def deviation(self) -> float | None:
        """The standard deviation over the seeds; None for one seed."""
        return stdev(run.accuracy for run in self.runs) if len(self.runs) > 1 else None


def rank(candidates: Sequence[Candidate]) -> list[Setting]:
    """Return the settings, the best first: by mean accuracy under attack, then clean.

    Error: RecipeError if the runs were not validated in the same way.
    """
    _check_comparable(candidates)
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        values = {key: value for key, value in candidate.values.items() if key != "seed"}
        groups.setdefault(repr(sorted(values.items())), []).append(candidate)
    differing = differing_keys([runs[0].values for runs in groups.values()])
    differing.pop("seed", None)
    settings = [
        Setting(runs, {key: values[place] for key, values in differing.items()})
        for place, runs in enumerate(groups.values())
    ]
    return sorted(settings, key=lambda setting: (setting.accuracy, setting.clean), reverse=True)


def decides_measurement(key: str) -> bool:
    """Whether a key of the recipe decides which accuracy is measured on the hold-out."""
    return key in MEASUREMENT or key.startswith(MEASUREMENT_TABLES)


def _check_comparable(candidates: Sequence[Candidate]) -> None:
    measured = [
        {key: value for key, value in run.values.items() if decides_measurement(key)}
        | {"attack on the hold-out": run.attack, "hold-out images": run.n}
        for run in candidates
    ]
    for key, values in differing_keys(measured).items():
        named = ", ".join(str(value) for value in dict.fromkeys(values))
        raise RecipeError(
            f"the runs were not validated in the same way ({key}: {named}), so their accuracies cannot be compared; "
            "choose some of them with --where"
        )
