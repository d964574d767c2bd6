"""Random numbers of an attack: a stream for each sample, so that a result does not depend on its batch."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Self

import torch
from torch import Generator, Tensor


class SampleRNG:
    """Streams of the samples with the numbers `index` in their split, for one purpose (an attack at an epsilon).

    They are drawn on the CPU and moved, so every device sees the same numbers.
    """

    def __init__(self, seed: int, purpose: str, index: Sequence[int]) -> None:
        self.seed = _number(f"{seed}:{purpose}")
        self._generators = [Generator().manual_seed(_number(f"{seed}:{purpose}:{sample}")) for sample in index]

    def __len__(self) -> int:
        return len(self._generators)

    def take(self, index: Tensor) -> Self:
        """The streams of an index or mask (n,); they stay shared with these."""
        part = object.__new__(type(self))
        part.seed = self.seed
        numbers = torch.arange(len(self))[index.cpu()]
        part._generators = [self._generators[number] for number in numbers.tolist()]
        return part

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform in [0, 1), in the shape (n, ...), type and device of `like`."""
        return self._draw(like, torch.rand)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal, in the shape (n, ...), type and device of `like`."""
        return self._draw(like, torch.randn)

    def _draw(self, like: Tensor, draw: Callable[..., Tensor]) -> Tensor:
        if not len(like):
            return torch.empty_like(like)
        shape = like.shape[1:]
        rows = [draw(shape, generator=generator, dtype=like.dtype) for generator in self._generators]
        return torch.stack(rows).to(like.device)


def _number(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8]) >> 1
