"""What the stored results of one attack say, image by image: the evidence of the masking diagnosis."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from afdctl.attacks.base import NOT_FOUND
from afdctl.runs.shards import Array, Arrays

WITHOUT_GRADIENTS: Final = ("square", "noise", "surrogate")


@dataclass(frozen=True, eq=False)
class AttackEvidence:
    """One attack on the images that all attacks of a norm share; `columns` has its arrays (n,), as of a cell."""

    title: str
    name: str
    source: str | None
    schedule: str
    spec: dict[str, Any]
    epsilons: tuple[float, ...]
    columns: Arrays

    def column(self, epsilon: float, name: str) -> Array:
        return self.columns[f"{epsilon:g}/{name}"]

    def fooled(self, epsilon: float) -> Array:
        """Where (n,) x is classified correctly and x' is not."""
        distance = self.column(epsilon, "distance")
        return np.isfinite(distance) & (distance > 0)

    def robust(self, epsilon: float) -> Array:
        """Where (n,) x and x' are classified correctly."""
        robust: Array = np.isinf(self.column(epsilon, "distance"))
        return robust

    def claims(self, epsilon: float) -> Array:
        """Where (n,) the attack claims success, which float32 may not confirm."""
        claims: Array = self.column(epsilon, "first_success") != NOT_FOUND
        return claims

    @property
    def gradient_free(self) -> bool:
        """Whether it works without the network's gradients, as a transfer does, and some of other libraries."""
        if self.source is not None or ":" not in self.name:
            return self.source is not None or self.name in WITHOUT_GRADIENTS
        # of a library's or a user's attack, only its passes show it
        return not any(self.column(epsilon, "backwards").any() for epsilon in self.epsilons)

    @property
    def averages(self) -> bool:
        """Whether it averages the passes of a random network."""
        # AutoAttack's standard version has None
        return (self.spec.get("eot") or 1) > 1

    @property
    def standard_aa(self) -> bool:
        return self.name == "aa" and self.spec.get("version", "standard") == "standard"

    def reach(self, epsilon: float) -> tuple[float, float]:
        """The length of all steps, and the way across the ball, in units of epsilon: 2 from a random start, else 1."""
        steps, step = self.spec["steps"], self.spec.get("step_size")
        relative = step / epsilon if step is not None else self.spec.get("rel_step") or 2.5 / steps
        return float(steps * relative), 2.0 if self.spec.get("random_start") else 1.0

    def short_reach(self, epsilon: float) -> bool:
        """Whether all steps together cannot cross the ball."""
        if self.name not in ("pgd_linf", "pgd_l2", "pgd_l1", "mim"):
            return False
        reach, needed = self.reach(epsilon)
        return reach < needed * (1 - 1e-9)
