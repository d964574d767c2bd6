"""Carlini & Wagner's L2 attack (2017): the least ||x' - x||^2 + c max(0, z_y - max z_k), and a search for c.

Rounds and steps are those of the usual implementations, but each sample is left alone for itself where more work would
hardly bring it nearer: the usual test looks at the summed loss of a batch, and makes results depend on the batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from afdctl.attacks.descent import Ended, descend, evaluate
from afdctl.attacks.draws import Draws
from afdctl.attacks.found import NEVER, Found
from afdctl.attacks.iterate import Model, misclassified, per_sample
from afdctl.attacks.minimum import Rows

LARGEST_CONST = 1e10
LONG = 10
"""A search of this many rounds ends with the best constant once more."""


@torch.no_grad()
def cw(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    draws: Draws,
    norm: str,
    steps: int,
    step_size: float,
    binary_search_steps: int,
    initial_const: float,
    confidence: float,
    give_up_at: float,
    narrow: float,
    same: float,
) -> Found:
    """The nearest iterate of `binary_search_steps` rounds that fooled by `confidence`; x where none did.

    A round ends for a sample whose loss exceeds `give_up_at` times that at x: its constant is so small that x is best.
    The search ends where the bounds of the constant are within `narrow`, as what is between them leads to nearly the
    same image, or where ten times the constant led to the same place within `same`: it only scales the gradient.

    It draws nothing. The first iterate of every round is x, whose passes are paid for once.
    """
    assert norm == "l2"
    found = Found.nothing(x)
    if not len(x):
        return found
    logits, gap, slope = evaluate(model, x, y)
    found.forwards += 1
    found.backwards += 1
    wrong = misclassified(logits, y)
    found.first_success[wrong] = 0
    search = begin(x, y, confidence - gap, slope, initial_const).take(~wrong)
    for round_number in range(1, binary_search_steps + 1):
        if not len(search.x):
            break
        if round_number == binary_search_steps >= LONG:
            search.const = search.upper.clamp_max(LARGEST_CONST)
        ended = descend(
            model, search.x, search.y, search.const, search.hinge, search.slope,
            steps=steps, step_size=step_size, confidence=confidence, give_up_at=give_up_at,
        )  # fmt: skip
        search.learn(ended)
        last = round_number == binary_search_steps
        over = torch.ones_like(search.fooled) if last else search.over(ended, steps, narrow, same)
        search.take(over).report(found)
        search = search.take(~over)
    return found


@dataclass
class Search(Rows):
    """The samples still searched: number in the batch, x, y, hinge and slope at x, constant and bounds, the nearest."""

    number: Tensor
    x: Tensor
    y: Tensor
    hinge: Tensor
    slope: Tensor
    const: Tensor
    lower: Tensor
    upper: Tensor
    nearest: Tensor
    distance: Tensor
    first_success: Tensor
    fooled: Tensor
    taken: Tensor
    forwards: Tensor
    backwards: Tensor
    place: Tensor

    def learn(self, ended: Ended) -> None:
        """Take in what a round found; the next constant is ten times as large, or between the bounds."""
        nearer = ended.distance < self.distance
        self.nearest = torch.where(per_sample(nearer, self.x), ended.nearest, self.nearest)
        self.distance = torch.where(nearer, ended.distance, self.distance)
        self.fooled = ended.first_success != NEVER
        first = self.fooled & (self.first_success == NEVER)
        self.first_success = torch.where(first, self.taken + ended.first_success, self.first_success)
        self.taken = self.taken + ended.taken
        self.forwards = self.forwards + ended.taken
        self.backwards = self.backwards + ended.backwards
        self.upper = torch.where(self.fooled, self.const, self.upper)
        self.lower = torch.where(self.fooled, self.lower, self.const)
        self.const = torch.where(self.upper.isinf(), self.const * 10, (self.lower + self.upper) / 2)

    def over(self, ended: Ended, steps: int, narrow: float, same: float) -> Tensor:
        """Where another round would hardly find anything nearer."""
        place = torch.stack([ended.hinge, ended.square], 1)
        place[self.fooled | (ended.taken < steps - 1)] = torch.nan
        unmoved = ((place - self.place).abs() < same * self.place).all(1)
        self.place = place
        return (unmoved & self.upper.isinf()) | (self.upper < narrow * self.lower)

    def report(self, found: Found) -> None:
        """Write these rows to the batch."""
        found.x_adv[self.number] = self.nearest
        found.first_success[self.number] = self.first_success
        found.forwards[self.number] += self.forwards
        found.backwards[self.number] += self.backwards


def begin(x: Tensor, y: Tensor, hinge: Tensor, slope: Tensor, const: float) -> Search:
    """The state before the first round."""
    number, never, none = torch.arange(len(y), device=y.device), torch.full_like(y, NEVER), torch.zeros_like(y)
    infinite, zero = torch.full_like(hinge, torch.inf), torch.zeros_like(hinge)
    return Search(
        number, x, y, hinge, slope, torch.full_like(hinge, const), zero, infinite, x, infinite, never, none.bool(),
        none, none, none, torch.full((len(y), 2), torch.nan, dtype=x.dtype, device=x.device),
    )  # fmt: skip
