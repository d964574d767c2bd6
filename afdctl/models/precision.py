"""bfloat16 for the forward and backward pass of a network's encoder, and for nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

DTYPES: Final = {"float32": torch.float32, "bf16": torch.bfloat16}


class MixedPrecision(nn.Sequential):
    """Modules in sequence, the first of which may compute in bfloat16. Its output is float32 again.

    Autocast is active for that module only. So it reaches neither losses nor perturbations, and its rounded copies of
    weights never outlive an update.
    """

    def __init__(self, *modules: nn.Module, precision: str = "float32") -> None:
        super().__init__(*modules)
        self.precision = precision

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self
        out: Tensor = first(x) if self.precision == "float32" else self.autocast_forward(first, x)
        for module in others:
            out = module(out)
        return out

    def autocast_forward(self, module: nn.Module, x: Tensor) -> Tensor:
        """Return the module's output, computed in the lower precision, as float32."""
        with torch.autocast(x.device.type, DTYPES[self.precision]):
            out: Tensor = module(x)
        return out.float()


def precision_of(network: nn.Module) -> str:
    """Return the precision of the network's encoder, `float32` for networks without `MixedPrecision`."""
    return next((module.precision for module in _mixed(network)), "float32")


def set_precision(network: nn.Module, precision: str) -> None:
    """Make the encoder compute in `float32` or `bf16`. Parameters stay float32."""
    for module in _mixed(network):
        module.precision = precision


@contextmanager
def in_float32(network: nn.Module) -> Iterator[None]:
    """Make the network compute in float32 inside the block, as verification does."""
    precision = precision_of(network)
    set_precision(network, "float32")
    try:
        yield
    finally:
        set_precision(network, precision)


def _mixed(network: nn.Module) -> list[MixedPrecision]:
    return [module for module in network.modules() if isinstance(module, MixedPrecision)]
