"""Epsilons that no attack needs, and attacks that say little: found before anything is attacked."""

from collections.abc import Iterable, Iterator
from typing import Final

from afdctl.errors import RecipeError
from afdctl.evaluation.target import EvaluationTarget
from afdctl.formatting import describe_short_reach
from afdctl.suites.attack_config import AttackConfig, FixedStepAttack
from afdctl.suites.autoattack import AA, APGDT

# the targeted DLR loss compares the four largest logits
TARGETED_CLASSES: Final = 4


def check_epsilons(specs: Iterable[AttackConfig], target: EvaluationTarget) -> None:
    """Raise RecipeError for a ball that contains every image."""
    pixels = target.split.x[0].numel()
    diameters = {"linf": 1.0, "l2": pixels**0.5, "l1": float(pixels), "l0": float(pixels)}
    for spec in specs:
        if spec.epsilons[-1] > diameters[spec.norm]:
            raise RecipeError(
                f"{spec.title}: epsilon {spec.epsilons[-1]:g} is more than any two images of {target.dataset} differ "
                f"by ({diameters[spec.norm]:g})"
            )


def attack_warnings(specs: Iterable[AttackConfig], classes: int) -> Iterator[str]:
    """Warn of attacks that cannot cross their ball, and of AutoAttack on few classes."""
    for spec in specs:
        if isinstance(spec, FixedStepAttack) and (warning := _short_reach(spec)):
            yield warning
        if isinstance(spec, AA | APGDT) and classes < TARGETED_CLASSES:
            yield (
                f"{spec.title}: the targeted DLR loss needs {TARGETED_CLASSES} classes, this data set has {classes}; "
                f"apgd_t uses the margin loss alone"
            )


def _short_reach(spec: FixedStepAttack) -> str | None:
    """Warn of epsilons whose ball the attack's steps cannot cross."""
    needed = spec.required_distance
    distances = {epsilon: spec.max_distance(epsilon) for epsilon in spec.epsilons[1:]}
    reached = {epsilon: reach for epsilon, reach in distances.items() if reach is not None}
    short = {
        epsilon: reach for epsilon, reach in reached.items() if describe_short_reach("", spec.steps, reach, needed)
    }
    if not short:
        return None
    epsilons = ", ".join(f"{epsilon:.4g}" for epsilon in short)
    warning = describe_short_reach(f"{spec.title} at {epsilons}", spec.steps, min(short.values()), needed)
    return f"{warning}; its accuracies are too high"
