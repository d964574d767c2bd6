"""The model as AutoAttack's library calls it: counts passes, records first successes, keeps weights untouched."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from afdctl.attacks.base import NOT_FOUND, AttackResult, Model, is_fooled, is_misclassified, voted_class


def library(module: str) -> ModuleType:
    """Import a module of pyautoattack, or of its authors' package autoattack, which has the same attack classes."""
    try:
        return import_module(f"pyautoattack.{module}")
    except ModuleNotFoundError:
        return import_module(f"autoattack.{module}")


def library_version() -> str:
    """Return name and version of the package that `library` imports from."""
    try:
        return f"pyautoattack {version('pyautoattack')}"
    except PackageNotFoundError:
        return f"autoattack {version('autoattack')}"


class NullLogger:
    """A logger that discards the library's warnings of zero gradients; the sanity checks of a sweep replace them."""

    def warning(self, message: str) -> None:
        """Discard a message of pyautoattack."""

    def log(self, message: str) -> None:
        """Discard a message of autoattack."""


@contextmanager
def seed_global_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, which the library draws from, and restore them afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for cuda in devices:
            with torch.cuda.device(cuda):
                torch.cuda.manual_seed(seed)
        yield


class CountingModel:
    """A model that counts the passes of samples x (n, c, h, w), y (n,) and records what an attack finds for them.

    A call with as many images as `rows` has samples under attack is taken as one image each, in order. The passes of
    any other call are spread evenly over the rows. Success is not recorded for such calls, or where `track_success()`
    is false. On a random model the class of most of `evaluations` passes decides, and calls are not success.
    """

    def __init__(self, model: Model, x: Tensor, y: Tensor, evaluations: int = 1) -> None:
        self._model, self.evaluations = model, evaluations
        # for attacks that differentiate one pass several times
        self.retain_graph = False
        # the library needs contiguous float images and int64 labels
        self.x, self.y = x.float().contiguous(), y.long()
        self.result = AttackResult.empty(self.x)
        self.rows = torch.arange(len(x), device=x.device)
        self.track_success: Callable[[], bool] = lambda: evaluations == 1
        self._forwards, self._backwards = torch.zeros(2, len(x), device=x.device)
        self._no_logits = self.x.new_zeros(0, 1)
        passes = self._evaluate(self.x)
        self.logits = passes[0] if evaluations == 1 else torch.stack(passes).mean(0)
        self._no_logits = self.logits[:0]
        self.right = voted_class(passes) == self.y

    def __call__(self, x: Tensor) -> Tensor:
        """Return the logits (m, classes) of images (m, c, h, w)."""
        steps = self._backwards[self.rows]
        if torch.is_grad_enabled() and x.requires_grad:
            logits: Tensor = _InputGradient.apply(x, self)
        else:
            logits = self.forward_uncounted(x)
        self._forwards[self.rows] += len(x) / max(len(self.rows), 1)
        if len(x) == len(self.rows) and self.track_success():
            first = self.result.first_success_step[self.rows]
            new = (first == NOT_FOUND) & is_misclassified(logits.detach(), self.y[self.rows])
            self.result.first_success_step[self.rows] = torch.where(new, steps.long(), first)
        return logits

    def forward_uncounted(self, x: Tensor) -> Tensor:
        """Return the logits for an attack that counts passes itself. The model is never called on an empty batch."""
        return self._model(x) if len(x) else self._no_logits

    def _evaluate(self, x: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return [self(x) for _ in range(self.evaluations)]

    def record_votes(self, x_adv: Tensor) -> None:
        """Store x' (m, c, h, w) of the samples under attack where most passes misclassify it."""
        new = is_fooled(self._evaluate(x_adv), self.y[self.rows]) & ~self.result.fooled[self.rows]
        rows = self.rows[new]
        self.record_success(rows, x_adv[new], (self._backwards[rows] / self.evaluations).long())

    def focus(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Make the samples `rows` those under attack, and return their x and y."""
        self.rows = rows
        return self.x[rows], self.y[rows]

    def remaining(self) -> Tensor:
        """Return the numbers of the samples that are classified correctly and not fooled yet."""
        return (self.right & ~self.result.fooled).nonzero()[:, 0]

    def target_ranks(self, targets: int) -> range:
        """Return the other classes as FAB-T and APGD-T number them by logit, from the runner-up, which is 2."""
        return range(2, 2 + min(targets, self.logits.shape[1] - 1))

    def record_success(self, rows: Tensor, x_adv: Tensor, steps: Tensor) -> None:
        """Store x' (m, c, h, w) of the samples `rows` (m,), which fooled the model after `steps` (m,)."""
        first = self.result.first_success_step[rows]
        self.result.x_adv[rows] = x_adv
        self.result.first_success_step[rows] = torch.where(first == NOT_FOUND, steps, first)

    def record_final(self, rows: Tensor, fooled: Tensor) -> None:
        """Note which of the samples `rows` (m,) the x' of an attack fools at its end (m,), and no earlier iterate."""
        first = self.result.first_success_step[rows]
        steps = torch.where(first == NOT_FOUND, self._backwards[rows].long(), first)
        self.result.first_success_step[rows] = torch.where(fooled, steps, NOT_FOUND)

    def record_results(self, x_adv: Tensor, queries: Tensor) -> None:
        """Store x' (m, c, h, w) of the samples under attack, found with `queries` (m,) that include the start's."""
        self.result.x_adv[self.rows] = x_adv
        self.result.first_success_step[self.rows] = queries - 1
        self._forwards[self.rows] = 1.0 + queries

    def add_passes(self, rows: Tensor, *, forwards: int, backwards: int) -> None:
        """Count passes of the samples `rows` (m,); a sample that occurs twice is counted twice."""
        self._forwards.index_add_(0, rows, torch.full_like(self._forwards[rows], forwards))
        self._backwards.index_add_(0, rows, torch.full_like(self._backwards[rows], backwards))

    def add_backward(self, rows: Tensor, images: int) -> None:
        """Count the backward pass of a call with `images` images, spread evenly over the samples `rows`."""
        self._backwards[rows] += images / len(rows)

    def verified_result(self) -> AttackResult:
        """Return the result, with the successes that a forward pass of the whole batch confirms."""
        self.rows = torch.arange(len(self.x), device=self.x.device)
        result = self.result
        claimed = result.fooled
        if claimed.any():
            wrong = is_fooled(self._evaluate(result.x_adv), self.y)
            result.first_success_step = torch.where(claimed & wrong, result.first_success_step, NOT_FOUND)
        # an image that is not finite cannot be clipped to its ball
        broken = ~result.x_adv.isfinite().flatten(1).all(1)
        result.x_adv[broken] = self.x[broken]
        result.forwards, result.backwards = self._forwards.round().long(), self._backwards.round().long()
        return result


class _InputGradient(torch.autograd.Function):
    """Logits with a gradient in the images only, so that the library's `backward()` fills no weight's `.grad`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counter: CountingModel) -> Tensor:
        with torch.enable_grad():
            ctx.x = x.detach().requires_grad_()
            ctx.logits = counter.forward_uncounted(ctx.x)
        ctx.counter, ctx.rows = counter, counter.rows
        logits: Tensor = ctx.logits.detach()
        return logits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.counter.add_backward(ctx.rows, len(ctx.x))
        if not ctx.logits.requires_grad:
            return torch.zeros_like(ctx.x), None
        (gradient,) = torch.autograd.grad(
            ctx.logits,
            ctx.x,
            gradients[0],
            retain_graph=ctx.counter.retain_graph,
            allow_unused=True,
            materialize_grads=True,
        )
        return gradient, None
