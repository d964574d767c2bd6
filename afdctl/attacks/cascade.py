"""Several attacks in turn: each on the samples that none before it fooled."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from afdctl.attacks.base import NOT_FOUND, AttackResult
from afdctl.attacks.norms import lp_norm, per_sample


def cascade(x: Tensor, parts: Iterable[Callable[[Tensor], AttackResult]]) -> AttackResult:
    """Return the worst case of `parts`, each of which attacks the rows (m,) that no part before it fooled.

    x' is x where no part fools the model.
    """
    result = AttackResult.empty(x)
    for number, part in enumerate(parts):
        rows = (~result.fooled).nonzero()[:, 0]
        if not len(rows):
            break
        found = part(rows)
        found.part = torch.where(found.fooled, number, NOT_FOUND)
        found.x_adv = torch.where(per_sample(found.fooled, x), found.x_adv, x[rows])
        result.update(rows, found)
    return result


def within(result: AttackResult, x: Tensor, epsilon: float, norm: str) -> AttackResult:
    """Return the result with only those successes whose x' is in the ball."""
    near = lp_norm(result.x_adv - x, norm) <= epsilon
    return AttackResult(
        x_adv=result.x_adv,
        first_success_step=torch.where(near, result.first_success_step, NOT_FOUND),
        forwards=result.forwards,
        backwards=result.backwards,
        part=result.part,
        fault=result.fault,
    )
