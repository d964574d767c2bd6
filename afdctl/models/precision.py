"""bfloat16 for the passes of a network's encoder, and true float32 for whatever counts."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

DTYPES: Final = {"float32": torch.float32, "bf16": torch.bfloat16}
DEVICE_TYPES: Final = ("cpu", "cuda")


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
def true_float32(network: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Make the network compute in float32 inside the block: no bfloat16, no autocast and no TF32.

    The process's settings and the precision of each encoder are restored at the end.
    """
    encoders = _mixed(network) if isinstance(network, nn.Module) else []
    precisions = [encoder.precision for encoder in encoders]
    with ExitStack() as stack:
        for device_type in DEVICE_TYPES:
            # `autocast` warns about a device that is absent, where it cannot be enabled either
            if torch.is_autocast_enabled(device_type):
                stack.enter_context(torch.autocast(device_type, enabled=False))
        stack.enter_context(_without_tf32())
        try:
            for encoder in encoders:
                encoder.precision = "float32"
            yield
        finally:
            for encoder, precision in zip(encoders, precisions, strict=True):
                encoder.precision = precision


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Switch off the lower precisions in which torch may compute float32; it allows TF32 in convolutions by default.

    torch has older settings (`allow_tf32`) and newer ones for each operator (`fp32_precision`), and refuses to read the
    older ones where the two disagree, as after a custom model's file set only the newer ones. So both are set.
    """
    backends = torch.backends
    operators: list[Any] = [backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul]  # type: ignore[attr-defined]
    operators += [backends.mkldnn.conv, backends.mkldnn.rnn, backends.mkldnn.matmul]  # type: ignore[attr-defined]
    precisions = [operator.fp32_precision for operator in operators]
    try:
        matmul_precision = torch.get_float32_matmul_precision()
    except RuntimeError:
        matmul_precision = "high" if backends.cuda.matmul.fp32_precision == "tf32" else "highest"
    try:
        backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        for operator in operators:
            operator.fp32_precision = "ieee"
        yield
    finally:
        backends.cudnn.allow_tf32 = precisions[0] == "tf32"
        torch.set_float32_matmul_precision(matmul_precision)
        for operator, precision in zip(operators, precisions, strict=True):
            operator.fp32_precision = precision


def _mixed(network: nn.Module) -> list[MixedPrecision]:
    return [module for module in network.modules() if isinstance(module, MixedPrecision)]
