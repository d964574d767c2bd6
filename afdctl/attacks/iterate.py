"""What every gradient attack needs: loss and gradient at an iterate, and which iterate becomes x'."""

from collections.abc import Callable

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


def ascend(model: Model, objective: Objective, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, losses (n,) and the losses' gradients with respect to x (n, ...), all detached."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        losses = objective(logits)
        (gradient,) = torch.autograd.grad(losses.sum(), x)
    return logits.detach(), losses.detach(), gradient


def verdict(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Who is fooled (n,), and where the model has no answer (n,): NaN or infinite logits fool nobody."""
    top, label = logits.max(1)
    broken = ~top.isfinite()
    return (label != y) & ~broken, broken


def misclassified(logits: Tensor, y: Tensor) -> Tensor:
    """Where another class than y wins (n,): never where a logit is NaN."""
    return (logits.argmax(1) != y) & ~logits.isnan().any(1)


def per_sample(mask: Tensor, x: Tensor) -> Tensor:
    """A mask (n,) shaped to broadcast over x (n, ...)."""
    return mask.view(-1, *[1] * (x.dim() - 1))


class Kept:
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
