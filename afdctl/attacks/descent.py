"""One round of Carlini & Wagner's attack: Adam on ||x' - x||^2 + c hinge(x'), with x' = (tanh(w) + 1) / 2."""

from dataclasses import dataclass

import torch
from torch import Tensor

from afdctl.attacks.found import NEVER
from afdctl.attacks.iterate import Model, per_sample
from afdctl.attacks.minimum import Rows, fools, margin

INSIDE = 0.999999
"""What x is scaled by, in [-1, 1], for its inverse tanh to be finite."""
BETA_1, BETA_2, TINY = 0.9, 0.999, 1e-8
CHECKS = 10
"""How often a round asks whether a sample is worth its steps."""


@dataclass
class Ended(Rows):
    """What a round leaves of each sample.

    The nearest fooling iterate, its distance (inf for none), the step that first fooled (NEVER for none), steps and
    gradients taken, and the last iterate's hinge and squared distance.
    """

    nearest: Tensor
    distance: Tensor
    first_success: Tensor
    taken: Tensor
    backwards: Tensor
    hinge: Tensor
    square: Tensor


@dataclass
class Descent(Ended):
    """The samples that still descend: their number in the round, what Adam knows, and the present iterate."""

    number: Tensor
    x: Tensor
    y: Tensor
    const: Tensor
    start: Tensor
    w: Tensor
    mean: Tensor
    variance: Tensor
    x_adv: Tensor
    slope: Tensor

    def step(self, number: int, step_size: float) -> None:
        """Adam's step (Kingma & Ba 2015) of this number, from 1."""
        weight = torch.where(self.hinge > 0, -self.const, 0)
        # the tanh's own slope, (1 - tanh^2) / 2
        gradient = torch.addcmul(2 * (self.x_adv - self.x), per_sample(weight, self.x), self.slope)
        gradient.mul_(2 * self.x_adv * (1 - self.x_adv))
        self.mean = self.mean.lerp(gradient, 1 - BETA_1)
        self.variance = (BETA_2 * self.variance).addcmul_(gradient, gradient, value=1 - BETA_2)
        root = (self.variance / (1 - BETA_2**number)).sqrt_().add_(TINY)
        self.w = self.w.addcdiv(self.mean, root, value=-step_size / (1 - BETA_1**number))
        self.x_adv = image_of(self.w)
        self.taken = self.taken + 1

    def look(self, model: Model, confidence: float, with_slope: bool) -> None:
        """Evaluate the iterate, and keep it where it is the nearest that fooled."""
        if with_slope:
            logits, gap, self.slope = evaluate(model, self.x_adv, self.y)
            self.backwards = self.backwards + 1
        else:
            logits = model(self.x_adv)
            gap = margin(logits, self.y)
        self.hinge = (confidence - gap).clamp_min(0)
        self.square = (self.x_adv - self.x).flatten(1).square().sum(1)
        fooled = fools(logits, self.y, confidence)
        self.first_success = torch.where(fooled & (self.first_success == NEVER), self.taken, self.first_success)
        distance = self.square.sqrt()
        nearer = fooled & (distance < self.distance)
        self.distance = torch.where(nearer, distance, self.distance)
        self.nearest = torch.where(per_sample(nearer, self.x), self.x_adv, self.nearest)

    def promising(self, give_up_at: float) -> Tensor:
        """Who has fooled the model, or still may: their loss is at most `give_up_at` times that at x."""
        return (self.first_success != NEVER) | (self.square + self.const * self.hinge <= give_up_at * self.start)


def descend(
    model: Model,
    x: Tensor,
    y: Tensor,
    const: Tensor,
    hinge: Tensor,
    slope: Tensor,
    *,
    steps: int,
    step_size: float,
    confidence: float,
    give_up_at: float,
) -> Ended:
    """A round with constants (n,), from hinge (n,) and slope at x, the first of `steps` iterates."""
    left, ended = begin(x, y, const, hinge.clamp_min(0), slope), []
    tenth = -(-steps // CHECKS)
    for number in range(1, steps):
        left.step(number, step_size)
        left.look(model, confidence, with_slope=number < steps - 1)
        if (number + 1) % tenth or number == steps - 1:
            continue
        going = left.promising(give_up_at)
        if not going.all():
            ended.append(left.take(~going))
            left = left.take(going)
            if not len(left.x):
                break
    ended.append(left)
    order = torch.cat([part.number for part in ended]).argsort()
    names = Ended.__dataclass_fields__
    return Ended(**{name: torch.cat([getattr(part, name) for part in ended])[order] for name in names})


def begin(x: Tensor, y: Tensor, const: Tensor, hinge: Tensor, slope: Tensor) -> Descent:
    """The state at x."""
    w = torch.atanh((2 * x - 1) * INSIDE)
    none, zero, number = torch.zeros_like(y), torch.zeros_like(hinge), torch.arange(len(y), device=y.device)
    return Descent(
        x, torch.full_like(hinge, torch.inf), torch.full_like(y, NEVER), none, none, hinge, zero,
        number, x, y, const, const * hinge, w, torch.zeros_like(x), torch.zeros_like(x), image_of(w), slope,
    )  # fmt: skip


def image_of(w: Tensor) -> Tensor:
    """(tanh(w) + 1) / 2, in [0, 1]."""
    return w.tanh().mul_(0.5).add_(0.5)


def evaluate(model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, margins (n,) and their gradients with respect to x, all detached."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        gap = margin(logits, y)
        (slope,) = torch.autograd.grad(gap.sum(), x)
    return logits.detach(), gap.detach(), slope
