"""The loop of every attack with a budget: look at the iterates, leave the settled samples alone, move the others.

A sample is settled where its iterate fools the model, and where the model answers NaN: nothing leads on from there, and
as its x' the iterate shows the NaN to whoever verifies it.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from afdctl.attacks.draws import Draws
from afdctl.attacks.found import NEVER, Found
from afdctl.attacks.iterate import Model, ascend, cross_entropy_of, verdict

Run = Callable[[Tensor, Tensor, Draws], tuple[Found, Tensor]]


class Move(Protocol):
    """Where an attack goes from x_adv (n, c, h, w); it may remember something of each sample."""

    needs_gradient: bool

    def __call__(self, x: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        """The next iterates, in the ball around x and in the box."""

    def keep(self, mask: Tensor) -> None:
        """Forget the samples outside the mask (n,)."""


def climb(
    model: Model, x: Tensor, y: Tensor, start: Tensor, move: Move, *, steps: int, early_stop: bool
) -> tuple[Found, Tensor]:
    """What `steps` moves from `start` find, and whose x' is settled (n,); without `early_stop` nobody stops there."""
    found = Found.nothing(x)
    settled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    left = torch.arange(len(x), device=x.device)
    x_adv = start
    for step in range(steps + 1 if len(x) else 0):
        last = step == steps
        logits, gradient = _look(model, x_adv, y, move.needs_gradient and not last)
        fooled, broken = verdict(logits, y)
        _record(found, left, fooled, step, move.needs_gradient and not last)
        settled[left] = done = fooled | broken
        if last:
            break
        if early_stop and done.any():
            found.x_adv[left] = x_adv
            left, x, y, x_adv, gradient = (rows[~done] for rows in (left, x, y, x_adv, gradient))
            move.keep(~done)
            if not len(left):
                break
        x_adv = move(x, x_adv, gradient)
    found.x_adv[left] = x_adv
    return found, settled


def restarted(run: Run, x: Tensor, y: Tensor, draws: Draws, *, restarts: int, steps: int) -> Found:
    """`run` up to `restarts` times, of `steps` steps each, again only for samples that it has not settled."""
    found, settled = run(x, y, draws)
    for restart in range(1, restarts):
        left = (~settled).nonzero().squeeze(1)
        if not len(left):
            break
        again, settled[left] = run(x[left], y[left], draws.take(left))
        later = torch.where(again.fooled, again.first_success + restart * steps, NEVER)
        earlier = found.first_success[left]
        again.first_success = torch.where(earlier == NEVER, later, earlier)
        found.put(left, again)
    return found


def _look(model: Model, x_adv: Tensor, y: Tensor, needs_gradient: bool) -> tuple[Tensor, Tensor]:
    """Logits and the cross-entropy's gradient, 0 where that is NaN; an unneeded gradient is x_adv."""
    if needs_gradient:
        logits, _, gradient = ascend(model, cross_entropy_of(y), x_adv)
        return logits, gradient.nan_to_num()
    with torch.no_grad():
        return model(x_adv), x_adv


def _record(found: Found, left: Tensor, fooled: Tensor, step: int, backward: bool) -> None:
    earlier = found.first_success[left]
    found.first_success[left] = torch.where(fooled & (earlier == NEVER), step, earlier)
    found.forwards[left] += 1
    found.backwards[left] += int(backward)
