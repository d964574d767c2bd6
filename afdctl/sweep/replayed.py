"""Passes of a model that come again and again, replayed from CUDA graphs: an attack's host need not launch kernels.

Written without a GPU at hand: on a CUDA device it has not run yet.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from afdctl.attacks.iterate import Model
from afdctl.models.capture import WARM_UPS, Capture

HELD: Final = 8
"""So many passes are held at once."""
OFTEN: Final = 5
"""A pass is recorded when it comes for the fifth time: recording costs about as much as five."""


class Replayed:
    """A frozen model whose passes are replayed as soon as batches of one form came often.

    A form is shape, layout and dtype, with a gradient for the images or without. The model must read its weights where
    they lie, and have no other gradients. Without a CUDA device nothing is recorded: passes run on the buffers.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.uses: Counter[Hashable] = Counter()
        self.held: dict[Hashable, Pass] = {}
        self.memory = Memory()

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, c, h, w), the caller's own."""
        form = (x.shape, x.stride(), x.dtype, x.device, x.requires_grad and torch.is_grad_enabled())
        self.uses[form] += 1
        try:
            if form not in self.held and self.deserves(form):
                self.held[form] = Pass(self.model, x, self.memory)
            return self.held[form](x) if form in self.held else self.model(x)
        except torch.OutOfMemoryError:
            # whoever goes on with smaller batches needs what these hold; a pool cannot be used again without a graph
            self.held.clear()
            self.memory = Memory()
            raise

    def deserves(self, form: Hashable) -> bool:
        """Whether to record a form, for which one that came less than half as often makes room."""
        if self.uses[form] < OFTEN:
            return False
        if len(self.held) < HELD:
            return True
        rarest = min(self.held, key=self.uses.__getitem__)
        if 2 * self.uses[rarest] >= self.uses[form]:
            return False
        del self.held[rarest]
        return True


class Memory:
    """What passes of one model share: on CUDA the pool of memory and the stream, and whose turn it is.

    They are replayed in turn: the activations of a forward pass last until the next pass of any form.
    """

    def __init__(self) -> None:
        self.turn = 0
        self.pool: Any = None
        self._capture: Capture | None = None

    def capture(self, device: torch.device) -> Capture:
        """The one stream of all captures, as libraries keep a workspace for each."""
        if self._capture is None:
            self.pool = torch.cuda.graph_pool_handle()
            self._capture = Capture(device, "a pass of the model", "leave --graphs out")
        return self._capture

    def next_turn(self) -> int:
        """A number for a forward pass, which is the newest while `turn` is the same."""
        self.turn += 1
        return self.turn


class Pass:
    """A model's pass, and its way back to the images, on buffers of its own."""

    def __init__(self, model: Model, x: Tensor, memory: Memory) -> None:
        self.model, self.memory = model, memory
        self.wants_gradient = x.requires_grad and torch.is_grad_enabled()
        self.x = torch.empty_like(x, requires_grad=False).copy_(x.detach()).requires_grad_(self.wants_gradient)
        self._made = self._encode()
        # buffers in the layout that the model gives them: sums over another could be rounded otherwise
        self.logits = torch.empty_like(self._made.detach())
        self.has_gradient = self._made.requires_grad
        self.slope = torch.zeros_like(self.logits)
        self.gradient = torch.empty_like(self._go_back()) if self.has_gradient else self.x
        self._runs = [self._run_forward, self._run_backward][: 1 + self.has_gradient]
        self.graphs = self._capture() if x.is_cuda else None

    def __call__(self, x: Tensor) -> Tensor:
        logits: Tensor = _Replay.apply(x, self) if self.has_gradient else self.forward(x)[0]
        return logits

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        """Logits, and the turn, which `backward` wants to know."""
        self.x.copy_(x)
        self._replay(0)
        return self.logits.clone(), self.memory.next_turn()

    @torch.no_grad()
    def backward(self, slope: Tensor) -> Tensor:
        """The gradient for the images of the newest forward pass, from that for its logits; any number of times."""
        self.slope.copy_(slope)
        self._replay(1)
        return self.gradient.clone()

    def _replay(self, which: int) -> None:
        if self.graphs is None:
            self._runs[which]()
        else:
            self.graphs[which].replay()

    def _run(self) -> None:
        for run in self._runs:
            run()

    def _run_forward(self) -> None:
        self._made = self._encode()
        self.logits.copy_(self._made.detach())

    def _run_backward(self) -> None:
        self.gradient.copy_(self._go_back())

    def _encode(self) -> Tensor:
        with torch.set_grad_enabled(self.wants_gradient):
            return self.model(self.x)

    def _go_back(self) -> Tensor:
        # the activations are kept, as some attacks go back once for each class
        (gradient,) = torch.autograd.grad(
            self._made, self.x, self.slope, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return gradient

    @torch.no_grad()
    def _capture(self) -> list[torch.cuda.CUDAGraph]:
        """The graphs of the pass and of its way back."""
        capture = self.memory.capture(self.x.device)
        with capture.aside():
            for _ in range(WARM_UPS):
                self._run()
        # the warm-up's activations, and after the capture those of the graph, whose place the next one may use too
        del self._made
        graphs = [capture.record(run, pool=self.memory.pool) for run in self._runs]
        del self._made
        return graphs


class _Replay(torch.autograd.Function):
    """Logits whose gradient is replayed too; where another pass came between, theirs is run once more before."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, recorded: Pass) -> Tensor:
        ctx.save_for_backward(x)
        ctx.recorded = recorded
        logits, ctx.turn = recorded.forward(x)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        recorded: Pass = ctx.recorded
        if ctx.turn != recorded.memory.turn:
            _, ctx.turn = recorded.forward(*ctx.saved_tensors)
        return recorded.backward(slope), None
