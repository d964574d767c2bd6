"""Where a network may compute in bfloat16: in the pass of its encoder, and nowhere else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

DTYPES: Final = {"float32": torch.float32, "bf16": torch.bfloat16}


class MixedPrecision(nn.Sequential):
    """Modules in turn, of which the first may compute in bfloat16; what it returns is float32 again.

    Autocast ends with the pass, so that it keeps no copy of a weight that an update has changed since, and reaches
    neither losses nor perturbations.
    """

    def __init__(self, *modules: nn.Module, precision: str = "float32") -> None:
        super().__init__(*modules)
        self.precision = precision

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self
        passed: Tensor = first(x) if self.precision == "float32" else self.lowered(first, x)
        for module in others:
            passed = module(passed)
        return passed

    def lowered(self, module: nn.Module, x: Tensor) -> Tensor:
        """The module's pass in the lower precision, as float32."""
        with torch.autocast(x.device.type, DTYPES[self.precision]):
            passed: Tensor = module(x)
        return passed.float()


def precision_of(network: nn.Module) -> str:
    """`float32` where nothing in the network may be anything else."""
    return next((module.precision for module in _mixed(network)), "float32")


def set_precision(network: nn.Module, precision: str) -> None:
    """Let the network compute in `float32` or `bf16`; its parameters stay as they are."""
    for module in _mixed(network):
        module.precision = precision


@contextmanager
def in_float32(network: nn.Module) -> Iterator[None]:
    """float32 inside, as verdicts are taken."""
    before = precision_of(network)
    set_precision(network, "float32")
    try:
        yield
    finally:
        set_precision(network, before)


def _mixed(network: nn.Module) -> list[MixedPrecision]:
    return [module for module in network.modules() if isinstance(module, MixedPrecision)]
