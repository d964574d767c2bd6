"""What an attack reports for each sample of a batch."""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

NEVER = -1


@dataclass
class Found:
    """One row a sample; a caller verifies `x_adv` with a fresh forward pass and never takes the attack's word.

    x_adv (n, c, h, w): a fooling image, the nearest where the attack minimises a norm. Where nothing fooled the model:
        the last iterate of an attack with a budget, x of one that minimises a norm. In [0, 1], and in the ball.
    first_success (n,) int64: gradient steps (queries, draws) taken when an iterate first fooled the model; 0 is the
        start, NEVER none.
    forwards, backwards (n,) int64: passes of this sample through the model.
    part (n,) int64: index of the part of a composed attack that fooled the model; NEVER for none and for plain attacks.
    """

    x_adv: Tensor
    first_success: Tensor
    forwards: Tensor
    backwards: Tensor
    part: Tensor

    @classmethod
    def nothing(cls, x: Tensor) -> Self:
        """Nothing found at no cost: a fresh copy of x."""
        never = torch.full((len(x),), NEVER, dtype=torch.long, device=x.device)
        none = torch.zeros_like(never)
        return cls(x.clone(), never, none, none.clone(), never.clone())

    @property
    def fooled(self) -> Tensor:
        """(n,) bool: what the attack says, before it is verified."""
        return self.first_success != NEVER

    def take(self, index: Tensor) -> Self:
        """The rows of an index or mask (n,)."""
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))

    def put(self, index: Tensor, rows: Self) -> None:
        """Write rows back to where `take` would read them; passes are added, not replaced."""
        self.x_adv[index], self.first_success[index], self.part[index] = rows.x_adv, rows.first_success, rows.part
        self.forwards[index] += rows.forwards
        self.backwards[index] += rows.backwards
