"""What every gradient attack needs: loss and gradient at an iterate, and which iterate becomes x'."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

Model = Callable[[Tensor], Tensor]
Objective = Callable[[Tensor], Tensor]
"""Logits (n, classes) to the losses (n,) that the attack maximises."""


def cross_entropy_of(y: Tensor) -> Objective:
    """The loss that most attacks maximise."""

    def objective(logits: Tensor) -> Tensor:
        return cross_entropy(logits, y, reduction="none")

    return objective


def loss_and_gradient(model: Model, objective: Objective, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, losses (n,) and the losses' gradients with respect to x (n, ...), all detached."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        losses = objective(logits)
        (gradient,) = torch.autograd.grad(losses.sum(), x)
    return logits.detach(), losses.detach(), gradient


def is_fooled(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Who is fooled (n,), and where the model has no answer (n,): NaN or infinite logits fool nobody."""
    top, label = logits.max(1)
    broken = ~top.isfinite()
    return (label != y) & ~broken, broken


def is_misclassified(logits: Tensor, y: Tensor) -> Tensor:
    """Where another class than y wins (n,): never where a logit is NaN."""
    return (logits.argmax(1) != y) & ~logits.isnan().any(1)


def per_sample(mask: Tensor, x: Tensor) -> Tensor:
    """A mask (n,) shaped to broadcast over x (n, ...)."""
    return mask.view(-1, *[1] * (x.dim() - 1))


class IterateTracker:
    """The iterate that becomes x', chosen sample by sample on the device.

    `worst_loss`: the one with the largest loss; `last`: the last; `success_only`: the last that fooled the model, x
    where none did, as the published code trains.
    """

    def __init__(self, keep: str, x: Tensor, y: Tensor) -> None:
        self.keep = keep
        self.y = y
        self.x_adv = x
        self.worst = torch.full((len(x),), -torch.inf, device=x.device)

    def offer(self, x_adv: Tensor, logits: Tensor, losses: Tensor) -> None:
        """Show the next iterate; a NaN loss never wins."""
        if self.keep == "last":
            self.x_adv = x_adv
            return
        if self.keep == "worst_loss":
            better = losses > self.worst
            self.worst = torch.where(better, losses, self.worst)
        else:
            better = logits.argmax(1) != self.y
        self.x_adv = torch.where(per_sample(better, x_adv), x_adv, self.x_adv)


NOT_FOUND = -1


@dataclass
class AttackResult:
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
        never = torch.full((len(x),), NOT_FOUND, dtype=torch.long, device=x.device)
        none = torch.zeros_like(never)
        return cls(x.clone(), never, none, none.clone(), never.clone())

    @property
    def fooled(self) -> Tensor:
        """(n,) bool: what the attack says, before it is verified."""
        return self.first_success != NOT_FOUND

    def take(self, index: Tensor) -> Self:
        """The rows of an index or mask (n,)."""
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))

    def put(self, index: Tensor, rows: Self) -> None:
        """Write rows back to where `take` would read them; passes are added, not replaced."""
        self.x_adv[index], self.first_success[index], self.part[index] = rows.x_adv, rows.first_success, rows.part
        self.forwards[index] += rows.forwards
        self.backwards[index] += rows.backwards


ULPS = 16
"""By how many roundings of a logit an image must fool: the same image in a batch of another size is rounded anew."""


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """The largest other logit minus that of y (n,): positive where the model is fooled; NaN where a logit is."""
    return _others(logits, y) - _own(logits, y)


def fools_by(logits: Tensor, y: Tensor, confidence: float = 0) -> Tensor:
    """Where the margin exceeds `confidence`, and by more than rounding (n,): never where a logit is NaN."""
    other, own = _others(logits, y), _own(logits, y)
    limits = torch.finfo(logits.dtype)
    scale = torch.maximum(other.abs(), own.abs()).clamp_max(limits.max)
    return other - own > confidence + ULPS * limits.eps * scale


class SampleBatch:
    """A dataclass whose fields are tensors with a row for each sample."""

    def take(self, index: Tensor) -> Self:
        """The rows of an index or mask."""
        return replace(self, **{field.name: getattr(self, field.name)[index] for field in fields(self)})  # type: ignore[arg-type,type-var]


def _own(logits: Tensor, y: Tensor) -> Tensor:
    return logits.gather(1, y[:, None])[:, 0]


def _others(logits: Tensor, y: Tensor) -> Tensor:
    return logits.scatter(1, y[:, None], -torch.inf).amax(1)
