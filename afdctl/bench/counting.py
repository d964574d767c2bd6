"""What a step computes and moves, counted on a real one: operations see nothing of it, and give the same bits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from afdctl.bench.parts import PARTS, Parts, Passes, Tally
from afdctl.defenses.base import Defense


@dataclass(frozen=True)
class Count:
    """One step by parts: `passes` in forward-equivalents, `flop`, and `traffic` in bytes.

    `traffic` is what products and convolutions read and write, as if all between them were fused into them and no
    cache kept anything; `unfused` is the same of every operation; `largest` the bytes of the largest tensor.
    """

    passes: dict[str, int]
    flop: dict[str, int]
    traffic: int
    unfused: int
    largest: int


def count(defense: Defense, x: Tensor, y: Tensor) -> Count:
    """Take one step of a defense and count it. x: (n, c, h, w), y: (n,)."""
    gauge = Operations()
    flop = Tally(lambda: gauge.flop)
    encoded = Passes(lambda: parts.now != "attack")
    passes = Tally(lambda: encoded.count)

    def switch(part: str) -> None:
        flop.switch(part)
        passes.switch(part)

    parts = Parts(defense, switch)
    with encoded, parts, gauge:
        defense.step(x, y)
        switch("optimizer")
    by_passes, by_flop = ({name: round(tally.by_part[name]) for name in PARTS} for tally in (passes, flop))
    return Count(by_passes, by_flop, gauge.traffic, gauge.unfused, gauge.largest)


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up FLOP, by the formulas of torch.utils.flop_counter, and bytes of all operations while entered.

    Its FlopCounterMode cannot be used: it fails at a gradient of a leaf, such as that of the images.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flop = self.traffic = self.unfused = self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.is_view:
            return out
        sizes = [tensor.numel() * tensor.element_size() for tensor in tensors([args, out])]
        self.unfused += sum(sizes)
        self.largest = max(self.largest, *sizes, 0)
        if formula := flop_registry.get(func.overloadpacket):
            self.flop += formula(*args, **(kwargs or {}), out_val=out)
            self.traffic += sum(sizes)
        return out


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)
