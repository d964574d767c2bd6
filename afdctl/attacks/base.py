"""What attacks share: gradients, margins, when a model is fooled, which iterate becomes x', and the result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from afdctl.attacks.norms import per_sample

# images (n, c, h, w) in [0, 1] to logits (n, classes)
Model = Callable[[Tensor], Tensor]
# logits (n, classes) and labels (n,) to the losses (n,) that an attack maximises
Loss = Callable[[Tensor, Tensor], Tensor]

# value of `first_success_step` and `part` where no iterate fooled the model
NOT_FOUND: Final = -1
# the class of an image with a NaN logit, which is never the right one
NO_CLASS: Final = -1
# what can be wrong with an x' of a user's attack: NaN, for which x is taken; outside of its ball or of [0, 1], to which
# it is clipped; made without a pass of the model
FAULTS: Final = {"nan": 1, "outside": 2, "unqueried": 4}
# roundings of a logit that a margin must exceed, as an image's logits change with the size of its batch
ROUNDINGS: Final = 16


def cross_entropy_per_sample(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy (n,) of logits (n, classes) with labels y (n,)."""
    return cross_entropy(logits, y, reduction="none")


def loss_and_gradient(model: Model, loss: Loss, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, losses (n,) and the gradient of their sum in x (n, ...), all detached; its NaN become 0."""
    # the caller may have switched gradients off
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        losses = loss(logits, y)
        # samples do not interact in evaluation mode, so each row is its sample's gradient
        (gradient,) = torch.autograd.grad(losses.sum(), x)
    return logits.detach(), losses.detach(), gradient.nan_to_num()


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return the largest other logit minus that of y (n,); positive where the model is fooled, NaN where a logit is."""
    return _largest_other(logits, y) - logits.gather(1, y[:, None])[:, 0]


def target_margins(logits: Tensor, y: Tensor, targets: Tensor) -> Tensor:
    """Return the logits of the classes `targets` (n, k) minus that of y, shaped (n, k)."""
    return logits.gather(1, targets) - logits.gather(1, y[:, None])


def is_misclassified(logits: Tensor, y: Tensor, min_margin: float | Tensor = 0.0) -> Tensor:
    """Return where a class other than y wins (n,), by more than `min_margin` if that is given; never with a NaN logit.

    Without `min_margin` it is argmax that decides, as in every accuracy, also between equal and infinite logits.
    """
    wrong = (logits.argmax(1) != y) & ~logits.isnan().any(1)
    if isinstance(min_margin, Tensor) or min_margin > 0:
        wrong &= margin(logits, y) > min_margin
    return wrong


def voted_class(passes: Sequence[Tensor]) -> Tensor:
    """Return the class (n,) predicted most often in several passes' logits (n, classes); a NaN votes for NO_CLASS.

    This is the verdict on a random model: one pass of it shows chance.
    """
    # argmax would choose the class of the NaN, which may be the right one
    votes = [torch.where(logits.isnan().any(1), NO_CLASS, logits.argmax(1)) for logits in passes]
    return votes[0] if len(votes) == 1 else torch.stack(votes).mode(0).values


def is_fooled(passes: Sequence[Tensor], y: Tensor) -> Tensor:
    """Return where the class of `voted_class` is another one than y (n,), and not NO_CLASS."""
    winner = voted_class(passes)
    return (winner != y) & (winner != NO_CLASS)


def rounding_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return the margin (n,) that survives rounding: 16 times the float error of the larger of its two logits."""
    limits = torch.finfo(logits.dtype)
    scale = torch.maximum(_largest_other(logits, y).abs(), logits.gather(1, y[:, None])[:, 0].abs())
    return ROUNDINGS * limits.eps * scale.clamp_max(limits.max)


def _largest_other(logits: Tensor, y: Tensor) -> Tensor:
    return logits.scatter(1, y[:, None], -torch.inf).amax(1)


class IterateTracker:
    """Chooses the iterate that becomes x', sample by sample, without waiting for the device.

    `return_iterate` is "best_loss" (the largest loss), "last", or "last_success": the last that fooled the model, or x
    where none did, as the published code trains.
    """

    def __init__(self, return_iterate: str, x: Tensor, y: Tensor) -> None:
        self.return_iterate = return_iterate
        self.y = y
        self.x_adv = x
        self.best_loss = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)

    def update(self, x_adv: Tensor, logits: Tensor, losses: Tensor) -> None:
        """Compare the next iterates with those chosen so far; a NaN loss is never the largest."""
        if self.return_iterate == "last":
            self.x_adv = x_adv
            return
        if self.return_iterate == "best_loss":
            # of equal iterates the first one stays
            better = losses > self.best_loss
            self.best_loss = torch.where(better, losses, self.best_loss)
        else:
            better = is_misclassified(logits, self.y)
        self.x_adv = torch.where(per_sample(better, x_adv), x_adv, self.x_adv)

    def select(self, index: Tensor) -> None:
        """Drop the samples outside an index or mask."""
        self.x_adv, self.y, self.best_loss = self.x_adv[index], self.y[index], self.best_loss[index]


@dataclass
class AttackResult:
    """What an attack found, one row a sample. Callers verify `x_adv` with a forward pass of their own.

    x_adv (n, c, h, w): a fooling image, the nearest where the attack minimises a norm. Where nothing fooled the model:
        the last iterate of an attack with a budget, x of one that minimises a norm. In [0, 1], and in the ball.
    first_success_step (n,) int64: gradient steps (queries, draws) taken when an iterate first fooled the model; 0 is
        the start, NOT_FOUND none.
    forwards, backwards (n,) int64: passes of this sample through the model.
    part (n,) int64: index of the part of AutoAttack that fooled the model; NOT_FOUND for none and for other attacks.
    fault (n,) int64: sum of the `FAULTS` of the x' that a user's attack returned; 0 for none and for other attacks.
    """

    x_adv: Tensor
    first_success_step: Tensor
    forwards: Tensor
    backwards: Tensor
    part: Tensor
    fault: Tensor

    @classmethod
    def empty(cls, x: Tensor) -> Self:
        """Return the result of no attack: a copy of x, nothing found, no passes."""
        not_found = torch.full((len(x),), NOT_FOUND, dtype=torch.long, device=x.device)
        zeros = torch.zeros_like(not_found)
        return cls(
            x_adv=x.clone(),
            first_success_step=not_found,
            forwards=zeros,
            backwards=zeros.clone(),
            part=not_found.clone(),
            fault=zeros.clone(),
        )

    @property
    def fooled(self) -> Tensor:
        """Where the attack claims success (n,); not verified yet."""
        return self.first_success_step != NOT_FOUND

    def select(self, index: Tensor) -> Self:
        """Return the rows of an index or mask (n,)."""
        return type(self)(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def update(self, index: Tensor, rows: Self) -> None:
        """Write `rows` where `select(index)` reads them; passes are added, everything else is replaced."""
        self.x_adv[index] = rows.x_adv
        self.first_success_step[index], self.part[index] = rows.first_success_step, rows.part
        self.fault[index] = rows.fault
        self.forwards[index] += rows.forwards
        self.backwards[index] += rows.backwards


class SampleBatch:
    """Base of dataclasses whose fields are all tensors with one row a sample."""

    def select(self, index: Tensor) -> Self:
        """Return the rows of an index or mask."""
        return replace(self, **{field.name: getattr(self, field.name)[index] for field in fields(self)})  # type: ignore[arg-type,type-var]
