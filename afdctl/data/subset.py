"""Which images of a split are evaluated: all of them, a random sample, or the first ones."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, Self

import numpy as np
import torch
from torch import Tensor

Rule = Literal["all", "sample", "first"]

# not the seed of a training or an attack: all runs and attacks must get the same images, so that results can be paired
SAMPLE_SEED: Final = 0


@dataclass(frozen=True)
class Subset:
    """`n` of the `split_n` images of a split, by a rule that depends on nothing else.

    A sample begins with the images of every smaller sample of the split.
    """

    rule: Rule
    n: int
    split_n: int

    @classmethod
    def of(cls, split_n: int, *, limit: int | None = None, first: int | None = None) -> Self:
        """Choose a sample of `limit` images, or the `first` ones; all without either, or if the split has no more."""
        n = limit or first or split_n
        if n >= split_n:
            return cls("all", split_n, split_n)
        return cls("sample" if limit else "first", n, split_n)

    @property
    def key(self) -> tuple[Rule, int]:
        """What distinguishes the subsets of one split."""
        return self.rule, self.n

    @cached_property
    def index(self) -> Tensor:
        """Numbers of the images in their split, int64 (n,), on the CPU, in the order in which they are evaluated."""
        if self.rule != "sample":
            return torch.arange(self.n)
        # NumPy guarantees that this legacy generator never changes (NEP 19); torch's may change with its version
        order = np.random.RandomState(SAMPLE_SEED).permutation(self.split_n)
        return torch.from_numpy(order[: self.n].astype(np.int64))
