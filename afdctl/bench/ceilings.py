"""What this device can do at most: the rate of a matrix product, and the bandwidth of a copy."""

from collections.abc import Callable
from typing import Final

import torch

from afdctl.bench.steps import interleaved
from afdctl.models.precision import DTYPES

SIDE: Final = {"cpu": 1024, "cuda": 8192, "mps": 4096}
"""The side of the square matrices: large enough that a product is all arithmetic."""
COPIED: Final = {"cpu": 1 << 28, "cuda": 1 << 33, "mps": 1 << 31}
"""How many bytes are copied in one go, for a time that can be measured."""


class Product:
    """One matrix product of `flop` operations, at the present thread count."""

    def __init__(self, device: torch.device, dtype: torch.dtype, side: int | None = None) -> None:
        side = side or SIDE[device.type]
        self.flop = 2 * side**3
        self.a, self.out = (torch.ones((side, side), device=device, dtype=dtype) for _ in range(2))

    def __call__(self) -> None:
        torch.mm(self.a, self.a, out=self.out)


class Copy:
    """Copies of one tensor, again and again: `moved` bytes are read and written in all.

    The tensor is as large as a step's largest, so that a cache which holds that one counts here too.
    """

    def __init__(self, device: torch.device, size: int) -> None:
        self.source, self.target = (torch.ones(max(size // 4, 1), device=device) for _ in range(2))
        self.times = max(COPIED[device.type] // self.source.nbytes, 1)
        self.moved = 2 * self.times * self.source.nbytes

    def __call__(self) -> None:
        for _ in range(self.times):
            self.target.copy_(self.source)


def ceiling_of(precision: str, device: torch.device) -> str:
    """The name of the dtype whose product bounds a step: the recipe's, or float32 where that is faster.

    So it is on a CPU without instructions for bfloat16, whose product takes a hundred times as long.
    """
    if precision == "float32":
        return precision
    side = SIDE[device.type] // 8
    return max((precision, "float32"), key=lambda name: product_rate(device, DTYPES[name], side))


def product_rate(device: torch.device, dtype: torch.dtype, side: int | None = None, rounds: int = 4) -> float:
    """FLOP/s of the fastest of a few products: on the CPU a few hundredths of a second."""
    side = side or SIDE[device.type] // 2
    product: Callable[[], None] = Product(device, dtype, side)
    return 2 * side**3 / min(interleaved({"product": product}, rounds, device)["product"])
