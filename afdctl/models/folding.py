"""A frozen twin of a network for attacks: evaluation mode, BatchNorm folded into the convolutions."""

import torch
from torch import Tensor, nn

from afdctl.models.convolution import Convolution
from afdctl.models.resnet import ConvBN


class Folded(Convolution):
    """A convolution whose weights nothing but `refresh` changes: it makes its dense layers once."""

    def __init__(self, pair: ConvBN) -> None:
        conv = pair.conv
        # without weights of its own, which would be drawn from the global generator
        with torch.device("meta"):
            super().__init__(conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0])
        self.weight = nn.Parameter(torch.empty_like(conv.weight), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros_like(pair.bn.bias), requires_grad=False)
        self.made: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = {}

    def as_dense(self, height: int, width: int) -> tuple[Tensor, Tensor | None]:
        if (height, width) not in self.made:
            self.made[height, width] = super().as_dense(height, width)
        return self.made[height, width]

    @torch.no_grad()
    def refresh(self, pair: ConvBN) -> None:
        """Take a convolution's present weights and its BatchNorm's running statistics."""
        bn = pair.bn
        assert bn.running_mean is not None
        assert bn.running_var is not None
        assert self.bias is not None
        gain = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
        torch.mul(pair.conv.weight, gain.view(-1, 1, 1, 1), out=self.weight)
        torch.addcmul(bn.bias, bn.running_mean, gain, value=-1, out=self.bias)
        self.made.clear()


class FoldedTwin(nn.Module):
    """Computes what `network` computes in evaluation mode, without gradients of its parameters.

    All tensors but the folded convolutions are shared with the network, so only those need `refresh` after an update;
    they keep their place in memory. The network's own mode and gradients are never touched.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.pairs: list[tuple[ConvBN, Folded]] = []
        self.twin = self._copy(network).eval()
        self.refresh()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.twin(x)
        return logits

    def refresh(self) -> None:
        """Fold the network's present weights and running statistics."""
        for source, folded in self.pairs:
            folded.refresh(source)

    def _copy(self, module: nn.Module) -> nn.Module:
        if isinstance(module, ConvBN):
            folded = Folded(module)
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
        return copy
