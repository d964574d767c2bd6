"""CUDA graphs: what a function launches is recorded once, and from then on launched as one."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Generator

from afdctl.errors import AfdctlError

WARM_UPS: Final = 3
"""Runs before the capture, in which libraries choose their kernels and get their memory, as torch's own graphs do."""


class Capture:
    """Records functions on a stream of its own; they read and write buffers that stay where they are.

    `of` says in a message what could not be recorded, and `advice` what to do then.
    """

    def __init__(self, device: torch.device, of: str, advice: str) -> None:
        self.device, self.of, self.advice = device, of, advice
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Runs inside go on the stream of the captures, after all before and before all after: they warm it up."""
        with torch.cuda.device(self.device):
            current = torch.cuda.current_stream()
            self.stream.wait_stream(current)
            with torch.cuda.stream(self.stream):
                yield
            current.wait_stream(self.stream)

    def record(
        self, run: Callable[[], None], generators: Iterable[Generator] = (), pool: Any = None
    ) -> torch.cuda.CUDAGraph:
        """The graph of one run, during which nothing is computed; a replay moves generators on by what one run draws.

        `pool`, of `torch.cuda.graph_pool_handle`, holds the memory: graphs that are replayed in turn may share it.
        AfdctlError where torch cannot record it.
        """
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        try:
            with torch.cuda.device(self.device), torch.cuda.graph(graph, pool=pool, stream=self.stream):
                run()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if isinstance(error.__context__, torch.OutOfMemoryError):
                # the end of a capture that failed fails too
                raise error.__context__ from None
            raise AfdctlError(f"{self.of} cannot be captured: {error}; {self.advice}") from error
        return graph
