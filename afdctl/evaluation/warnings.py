"""What a user should know of an attack before its figures: one line each."""

from collections.abc import Iterable, Iterator

from afdctl.suites.attack_config import AttackConfig, FixedStepAttack
from afdctl.suites.schema import AA, APGDT

TARGETED_CLASSES = 4


def of_attacks(specs: Iterable[AttackConfig], classes: int) -> Iterator[str]:
    """Attacks that cannot cross their ball, and what few classes do to AutoAttack."""
    for spec in specs:
        if isinstance(spec, FixedStepAttack) and (short := short_of_ball(spec)):
            yield short
        if isinstance(spec, AA | APGDT) and classes < TARGETED_CLASSES:
            yield (
                f"{spec.title}: the targeted DLR loss needs {TARGETED_CLASSES} classes, this data set has {classes}; "
                f"apgd_t takes the margin alone"
            )


def short_of_ball(spec: FixedStepAttack) -> str | None:
    """The warning for epsilons that the attack's steps cannot reach across."""
    reaches = {epsilon: spec.max_distance(epsilon) for epsilon in spec.epsilons[1:]}
    short = {
        epsilon: reach for epsilon, reach in reaches.items() if reach is not None and reach < spec.required_distance
    }
    if not short:
        return None
    where = ", ".join(f"{epsilon:.4g}" for epsilon in short)
    return (
        f"{spec.title} at {where}: its {spec.steps} steps reach {min(short.values()):.2f} epsilon, and crossing the "
        f"ball takes {spec.required_distance:g}: its accuracies are too high"
    )
