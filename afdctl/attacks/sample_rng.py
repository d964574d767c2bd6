"""Per-sample random generators, so that an attack's result does not depend on batching."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Self

import torch
from torch import Generator, Tensor


class SampleRNG:
    """Generators of the samples with numbers `index` in their split, for one `purpose` (an attack at an epsilon).

    Numbers are drawn on the CPU and moved, so every device gets the same ones. `seed` serves an attack that draws for
    its whole batch.
    """

    def __init__(self, seed: int, purpose: str, index: Sequence[int]) -> None:
        self.seed = _hash(f"{seed}:{purpose}")
        self._generators = [Generator().manual_seed(_hash(f"{seed}:{purpose}:{sample}")) for sample in index]

    def __len__(self) -> int:
        return len(self._generators)

    def select(self, index: Tensor) -> Self:
        """Return the generators of an index or mask (n,), shared with this object."""
        selected = object.__new__(type(self))
        selected.seed = self.seed
        numbers = torch.arange(len(self))[index.cpu()]
        selected._generators = [self._generators[number] for number in numbers.tolist()]
        return selected

    def uniform(self, like: Tensor) -> Tensor:
        """Draw uniformly from [0, 1), in the shape (n, ...), dtype and device of `like`."""
        return self._draw(like, torch.rand)

    def normal(self, like: Tensor) -> Tensor:
        """Draw standard normal numbers, in the shape (n, ...), dtype and device of `like`."""
        return self._draw(like, torch.randn)

    def _draw(self, like: Tensor, draw: Callable[..., Tensor]) -> Tensor:
        if not len(like):
            return torch.empty_like(like)
        shape = like.shape[1:]
        rows = [draw(shape, generator=generator, dtype=like.dtype) for generator in self._generators]
        return torch.stack(rows).to(like.device)


def _hash(text: str) -> int:
    """Return 63 bits of SHA-256, a seed for torch."""
    return int.from_bytes(sha256(text.encode()).digest()[:8]) >> 1
