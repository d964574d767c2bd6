"""A function as one CUDA graph: its thousands of kernels are launched at once, and draw the numbers they always drew.

Written without a GPU at hand: on a CUDA device it has not run yet.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Generator, Tensor

from afdctl.models.capture import WARM_UPS, Capture

Function = Callable[[Tensor, Tensor], Tensor]
"""(x, y) to a tensor, an attack's x' say: reads and writes other tensors where they lie, and never waits."""


class Captured:
    """Runs a function, and replays it from a graph as soon as it came in the same form a few times running.

    These first runs are the capture's warm-up too, so the function may be one that must not be run for nothing, such as
    a step of a training. Whatever Python decides on is frozen in a graph: the batch's shape, and what the caller names
    as `settings`, such as epsilon and the number of steps. While these change from call to call, as in a warm-up of
    epsilon, and for the last batch of an epoch, which is shorter, the function is run as it is. One graph is held, the
    newest: it keeps the memory of a run.

    `of` and `advice` are for the message where it cannot be captured; `generators` are all that it draws from.
    """

    def __init__(self, function: Function, generators: Sequence[Generator], of: str, advice: str) -> None:
        self.function, self.generators = function, generators
        self.of, self.advice = of, advice
        self._capture: Capture | None = None
        self._last: Hashable = None
        self._came = 0
        self._form: Hashable = None
        self._recording: Recording | None = None

    def __call__(self, x: Tensor, y: Tensor, settings: Hashable) -> Tensor:
        """What the function returns, the caller's own."""
        form = (x.shape, x.dtype, x.device, settings)
        self._came = self._came + 1 if form == self._last else 1
        self._last = form
        if self._recording is not None and form == self._form:
            return self._recording(x, y)
        if self._came <= WARM_UPS:
            with self._aside(x.device):
                return self.function(x, y)
        self._recording = None  # its memory may be needed for the next
        self._recording, self._form = Recording(self.function, self.generators, x, y, self._capture), form
        return self._recording(x, y)

    def _aside(self, device: torch.device) -> AbstractContextManager[None]:
        if device.type != "cuda":
            return nullcontext()
        self._capture = self._capture or Capture(device, self.of, self.advice)
        return self._capture.aside()


class Recording:
    """A function on buffers of its own: x and y are copied into them, the result is copied out.

    Without a capture nothing is recorded: the function runs on the buffers.
    """

    def __init__(
        self, function: Function, generators: Sequence[Generator], x: Tensor, y: Tensor, capture: Capture | None
    ) -> None:
        self.function = function
        self.x, self.y = x.clone(), y.clone()
        self.graph = capture.record(self._run, generators) if capture else None

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        self.x.copy_(x)
        self.y.copy_(y)
        if self.graph is None:
            self._run()
        else:
            # moves the generators on by what one run draws
            self.graph.replay()
        return self.made.clone()

    def _run(self) -> None:
        self.made = self.function(self.x, self.y)
