"""Count floating-point operations and measure what a device can do at most (roofline)."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from afdctl.models.precision import DTYPES

# Side of the square matrices: large enough that arithmetic dominates the time of a product.
MATMUL_SIDE: Final = {"cpu": 1024, "cuda": 8192, "mps": 4096}
# Bytes copied per measurement, so that it is long enough for the clock.
COPY_BYTES: Final = {"cpu": 1 << 28, "cuda": 1 << 33, "mps": 1 << 31}


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts FLOP and bytes of all operations while entered; results stay bit-identical.

    `flop` uses the formulas of torch.utils.flop_counter. `traffic` is the bytes that products and convolutions read and
    write, as if all other operations were fused into them and no cache kept anything. `unfused` is the bytes of every
    operation, `largest` those of the largest tensor.
    """

    # torch's own FlopCounterMode fails on a gradient with respect to a leaf tensor, and an attack takes that of x.

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flop = self.traffic = self.unfused = self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.is_view:
            return out
        sizes = [tensor.numel() * tensor.element_size() for tensor in nested_tensors([args, out])]
        self.unfused += sum(sizes)
        self.largest = max(self.largest, *sizes, 0)
        if formula := flop_registry.get(func.overloadpacket):
            self.flop += formula(*args, **(kwargs or {}), out_val=out)
            self.traffic += sum(sizes)
        return out


def nested_tensors(value: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from nested_tensors(item)


@dataclass(frozen=True)
class CostEstimate:
    """FLOP of a training step per image, for any number of attack steps.

    `attack_start` is the part of the attack that does not depend on its length (it may be negative), `attack_step`
    each of its steps, `losses` the work for L_C, L_D and L_F by name (C, D, F).
    """

    attack_start: float
    attack_step: float
    losses: Mapping[str, float]

    def flop(self, attack_steps: float) -> dict[str, float]:
        """Return FLOP per image by phase (attack, C, D, F)."""
        return {"attack": self.attack_start + attack_steps * self.attack_step, **self.losses}


class MatmulBenchmark:
    """A matrix product of `flop` operations, for the peak FLOP/s of a device."""

    def __init__(self, device: torch.device, dtype: torch.dtype, side: int | None = None) -> None:
        side = side or MATMUL_SIDE[device.type]
        self.flop = 2 * side**3
        self.a, self.out = (torch.ones((side, side), device=device, dtype=dtype) for _ in range(2))

    def __call__(self) -> None:
        torch.mm(self.a, self.a, out=self.out)


class CopyBenchmark:
    """Repeated copies of one tensor of `size` bytes; `moved` is the bytes read and written in total.

    Use the size of a step's largest tensor: where a cache holds that tensor, the bandwidth should include it.
    """

    def __init__(self, device: torch.device, size: int) -> None:
        self.source, self.target = (torch.ones(max(size // 4, 1), device=device) for _ in range(2))
        self.times = max(COPY_BYTES[device.type] // self.source.nbytes, 1)
        self.moved = 2 * self.times * self.source.nbytes

    def __call__(self) -> None:
        for _ in range(self.times):
            self.target.copy_(self.source)


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int | None = None, rounds: int = 4) -> float:
    """Return FLOP/s of the fastest of `rounds` products; a few hundredths of a second on a CPU."""
    product = MatmulBenchmark(device, dtype, side or MATMUL_SIDE[device.type] // 2)
    seconds = [timed(product, device) for _ in range(1 + rounds)]
    # the first one warms up
    return product.flop / min(seconds[1:])


def ceiling_dtype(precision: str, device: torch.device) -> str:
    """Return the name of the dtype whose product bounds a step: `precision`, or float32 where that is faster.

    On a CPU without bfloat16 instructions a bfloat16 product takes about a hundred times as long as a float32 one.
    """
    if precision == "float32":
        return precision
    side = MATMUL_SIDE[device.type] // 8
    return max((precision, "float32"), key=lambda name: matmul_rate(device, DTYPES[name], side))


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a call takes, including its work queued on the device."""
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait for all work queued on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
