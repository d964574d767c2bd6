"""An attack as one CUDA graph: its thousands of kernels are launched at once, and draw the numbers they always drew."""

from collections.abc import Callable, Hashable

import torch
from torch import Generator, Tensor

from afdctl.models.capture import Capture

Attack = Callable[[Tensor, Tensor], Tensor]
"""(x, y) to x': reads weights where they lie, draws from one generator, and never waits for the device."""


class Captured:
    """Runs an attack, and replays it from a graph as soon as it comes a second time in the same form.

    Whatever Python decides on is frozen in a graph: the batch's shape, and what the caller names as `settings`, such as
    epsilon and the number of steps. While these change from call to call, as in a warm-up of epsilon, and for the last
    batch of an epoch, which is shorter, the attack is run as it is. One graph is held, the newest: it keeps the memory
    of an attack.
    """

    def __init__(self, attack: Attack, generator: Generator) -> None:
        self.attack, self.generator = attack, generator
        self._last: Hashable = None
        self._form: Hashable = None
        self._recording: Recording | None = None

    def __call__(self, x: Tensor, y: Tensor, settings: Hashable) -> Tensor:
        """x' (n, c, h, w), the caller's own."""
        form = (x.shape, x.dtype, x.device, settings)
        if form != self._form and form == self._last:
            self._recording = None  # its memory may be needed for the next
            self._recording, self._form = Recording(self.attack, self.generator, x, y), form
        self._last = form
        if self._recording is not None and form == self._form:
            return self._recording(x, y)
        return self.attack(x, y)


class Recording:
    """An attack on buffers of its own: x and y are copied into them, x' is copied out.

    Without a CUDA device nothing is recorded: the attack runs on the buffers.
    """

    def __init__(self, attack: Attack, generator: Generator, x: Tensor, y: Tensor) -> None:
        self.attack, self.generator = attack, generator
        self.x, self.y, self.x_adv = x.clone(), y.clone(), torch.empty_like(x)
        self.graph = self._capture() if x.is_cuda else None

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        self.x.copy_(x)
        self.y.copy_(y)
        if self.graph is None:
            self._run()
        else:
            # moves the generator on by what one run draws
            self.graph.replay()
        return self.x_adv.clone()

    def _run(self) -> None:
        self.x_adv.copy_(self.attack(self.x, self.y))

    def _capture(self) -> torch.cuda.CUDAGraph:
        """The graph of one run; the generator is left where it was."""
        capture = Capture(self.x.device, "the attack", "set train.graphs = false")
        capture.warm_up(self._run, [self.generator])
        return capture.record(self._run, [self.generator])
