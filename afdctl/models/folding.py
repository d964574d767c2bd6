"""A frozen twin of a network for attacks: evaluation mode, BatchNorm folded into the convolutions."""

import torch
from torch import Tensor, nn

from afdctl.models.frozen import FrozenConvolution
from afdctl.models.precision import DTYPES, precision_of, set_precision
from afdctl.models.resnet import ConvBN


class FoldedTwin(nn.Module):
    """Computes what `network` computes in evaluation mode, without gradients of its parameters.

    All tensors but the folded convolutions are shared with the network, so only those need `refresh` after an update;
    they keep their place in memory. The network's own mode and gradients are never touched.

    `precision` is that of its passes, by default the network's. Folded weights are rounded to it once an update, not
    once a pass.
    """

    def __init__(self, network: nn.Module, precision: str | None = None) -> None:
        super().__init__()
        self.pairs: list[tuple[ConvBN, FrozenConvolution]] = []
        self.twin = self._copy(network).eval()
        precision = precision or precision_of(network)
        set_precision(self.twin, precision)
        for _, folded in self.pairs:
            folded.to(DTYPES[precision])
        self.refresh()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.twin(x)
        return logits

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold the network's present weights and running statistics."""
        for source, folded in self.pairs:
            bn = source.bn
            assert bn.running_mean is not None
            assert bn.running_var is not None
            assert folded.bias is not None
            gain = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
            torch.mul(source.conv.weight, gain.view(-1, 1, 1, 1), out=folded.weight)
            torch.addcmul(bn.bias, bn.running_mean, gain, value=-1, out=folded.bias)
            folded.forget()

    def _copy(self, module: nn.Module) -> nn.Module:
        if isinstance(module, ConvBN):
            folded = FrozenConvolution(module.conv)
            self.pairs.append((module, folded))
            return folded
        copy = module.__new__(type(module))
        copy.__dict__ = module.__dict__.copy()
        # whoever watches the network does not want to see every step of an attack
        copy.__dict__ |= {name: type(value)() for name, value in vars(module).items() if name.endswith("_hooks")}
        copy._parameters = {
            name: p if p is None else nn.Parameter(p.detach(), requires_grad=False)
            for name, p in module._parameters.items()
        }
        copy._buffers = module._buffers.copy()
        copy._modules = {name: child if child is None else self._copy(child) for name, child in module._modules.items()}
        # what was compiled is the network's own call
        if copy.__dict__.pop("_compiled_call_impl", None) is not None:
            copy.compile(dynamic=False)
        return copy
