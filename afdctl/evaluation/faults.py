"""Count what was wrong with the x' of a user's attack; an attack that returned nothing valid has no accuracy."""

from typing import Any

from afdctl.attacks.base import FAULTS
from afdctl.errors import RecipeError
from afdctl.runs.shards import Arrays
from afdctl.suites.attack_config import AttackConfig


def count_faults(fault: Any, forwards: Any) -> dict[str, int]:
    """Count the x' that were returned at an epsilon, and those with each of `FAULTS`, from the columns (n,) of both."""
    returned = forwards > 0
    counts = {name: int((returned & (fault & flag > 0)).sum()) for name, flag in FAULTS.items()}
    return {"returned": int(returned.sum()), **counts}


def faults_in(arrays: Arrays, epsilon: float) -> dict[str, int]:
    """Count the faults in the columns of a batch or a task."""
    return count_faults(arrays[f"{epsilon:g}/fault"], arrays[f"{epsilon:g}/forwards"])


def check_some_valid(spec: AttackConfig, arrays: Arrays) -> None:
    """Raise RecipeError where a user's attack returned NaN only: its accuracy would be the clean one."""
    correct = int((arrays["clean"] == arrays["label"]).sum())
    for epsilon in spec.epsilons[1:] if spec.user_attack else ():
        check_counts(spec, faults_in(arrays, epsilon), epsilon, correct)


def check_counts(spec: AttackConfig, counts: dict[str, int], epsilon: float, correct: int) -> None:
    """Raise RecipeError where all x' had NaN, and were most of the images that are classified correctly."""
    # where a smaller epsilon left few images, these do not decide
    if spec.user_attack and counts["nan"] and counts["nan"] == counts["returned"] and 2 * counts["nan"] >= correct:
        raise RecipeError(
            f"{spec.user_attack.shown} returned NaN for all {counts['nan']} images at epsilon {epsilon:g}, so there is "
            "no accuracy under it"
        )
