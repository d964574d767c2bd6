"""The model as AutoAttack's library calls it: passes counted, each first success seen, weights untouched."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from afdctl.attacks.base import NOT_FOUND, AttackResult, Model, is_misclassified


def library(part: str) -> ModuleType:
    """A module of pyautoattack, or of its authors' package autoattack, whose attack classes are the same."""
    try:
        return import_module(f"pyautoattack.{part}")
    except ModuleNotFoundError:
        return import_module(f"autoattack.{part}")


def library_version() -> str:
    """Name and version of the package that `library` imports from."""
    try:
        return f"pyautoattack {version('pyautoattack')}"
    except PackageNotFoundError:
        return f"autoattack {version('autoattack')}"


class NullLogger:
    """A logger for the library, whose warnings (of points without a gradient) a sweep's own checks replace."""

    def warning(self, message: str) -> None:
        """What pyautoattack calls."""

    def log(self, message: str) -> None:
        """What autoattack calls."""


@contextmanager
def seed_global_rng(seed: int, device: torch.device) -> Iterator[None]:
    """The library draws from torch's global generators: seed the CPU's and the device's, and put them back after."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for cuda in devices:
            with torch.cuda.device(cuda):
                torch.cuda.manual_seed(seed)
        yield


class CountingModel:
    """A model, and what is found for the samples x (n, c, h, w), y (n,) while an attack calls it.

    A call with as many images as there are `rows` under attack is theirs, one each and in order. The passes of any
    other call are spread evenly over these rows, and nobody's success is seen in it, nor where `sees()` forbids.
    """

    def __init__(self, model: Model, x: Tensor, y: Tensor) -> None:
        self._model = model
        # the library views its tensors flat and looks logits up by label
        self.x, self.y = x.float().contiguous(), y.long()
        self.found = AttackResult.nothing(self.x)
        self.rows = torch.arange(len(x), device=x.device)
        self.sees: Callable[[], bool] = lambda: True
        self._forwards, self._backwards = torch.zeros(2, len(x), device=x.device)
        self._no_logits = self.x.new_zeros(0, 1)
        with torch.no_grad():
            self.logits = self(self.x)
        self._no_logits = self.logits[:0]
        self.right = (self.logits.argmax(1) == self.y) & ~self.logits.isnan().any(1)

    def __call__(self, x: Tensor) -> Tensor:
        """The logits (m, classes) of images (m, c, h, w)."""
        steps = self._backwards[self.rows]
        if torch.is_grad_enabled() and x.requires_grad:
            logits: Tensor = _InputGradient.apply(x, self)
        else:
            logits = self.unseen(x)
        self._forwards[self.rows] += len(x) / max(len(self.rows), 1)
        if len(x) == len(self.rows) and self.sees():
            first = self.found.first_success[self.rows]
            new = (first == NOT_FOUND) & is_misclassified(logits.detach(), self.y[self.rows])
            self.found.first_success[self.rows] = torch.where(new, steps.long(), first)
        return logits

    def unseen(self, x: Tensor) -> Tensor:
        """The logits alone, for an attack that keeps its own count. The model is never called on an empty batch."""
        return self._model(x) if len(x) else self._no_logits

    def count_backward(self, rows: Tensor, images: int) -> None:
        """Add the backward pass of a call."""
        self._backwards[rows] += images / len(rows)

    def turn_to(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """x and y of the samples that are attacked from here on."""
        self.rows = rows
        return self.x[rows], self.y[rows]

    def standing(self) -> Tensor:
        """Numbers of the samples that are classified rightly and have not been seen fooled."""
        return (self.right & ~self.found.fooled).nonzero()[:, 0]

    def replace(self, rows: Tensor, x_adv: Tensor, steps: Tensor) -> None:
        """Take x' (m, c, h, w) of the samples `rows` (m,), each of which first fooled the model after `steps` (m,)."""
        found, first = self.found, self.found.first_success[rows]
        found.x_adv[rows] = x_adv
        found.first_success[rows] = torch.where(first == NOT_FOUND, steps, first)

    def spend(self, rows: Tensor, *, forwards: int, backwards: int) -> None:
        """Count passes of the samples `rows` (m,), as often as each is in it."""
        self._forwards.index_add_(0, rows, torch.full_like(self._forwards[rows], forwards))
        self._backwards.index_add_(0, rows, torch.full_like(self._backwards[rows], backwards))

    def settle(self, x_adv: Tensor, queries: Tensor) -> None:
        """Take x' of the rows (m, c, h, w) from an attack that counted the queries of each (m,), its start's too."""
        self.found.x_adv[self.rows] = x_adv
        self.found.first_success[self.rows] = queries - 1
        self._forwards[self.rows] = 1.0 + queries

    def ranks(self, targets: int) -> range:
        """The other classes as FAB-T and APGD-T number them: 2 is the runner-up."""
        return range(2, 2 + min(targets, self.logits.shape[1] - 1))

    def verified(self) -> AttackResult:
        """What was found, as a fresh pass of the whole batch confirms it: a NaN fools nobody."""
        self.rows = torch.arange(len(self.x), device=self.x.device)
        found = self.found
        claimed = found.fooled
        if claimed.any():
            wrong = is_misclassified(self(found.x_adv), self.y)
            found.first_success = torch.where(claimed & wrong, found.first_success, NOT_FOUND)
        broken = ~found.x_adv.isfinite().flatten(1).all(1)
        found.x_adv[broken] = self.x[broken]
        found.forwards, found.backwards = self._forwards.round().long(), self._backwards.round().long()
        return found


class _InputGradient(torch.autograd.Function):
    """Logits that can be differentiated in the images alone: the library's `backward()` finds no weights to fill."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, watched: CountingModel) -> Tensor:
        with torch.enable_grad():
            ctx.x = x.detach().requires_grad_()
            ctx.logits = watched.unseen(ctx.x)
        ctx.watched, ctx.rows = watched, watched.rows
        logits: Tensor = ctx.logits.detach()
        return logits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.watched.count_backward(ctx.rows, len(ctx.x))
        if not ctx.logits.requires_grad:
            return torch.zeros_like(ctx.x), None
        (gradient,) = torch.autograd.grad(ctx.logits, ctx.x, gradients[0], allow_unused=True, materialize_grads=True)
        return gradient, None
