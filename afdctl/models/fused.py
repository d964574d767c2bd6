"""A frozen twin of a network for attacks: evaluation mode, BatchNorm folded into the convolutions."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from afdctl.models.compiled import compile_in_place
from afdctl.models.precision import DTYPES, precision_of, set_precision
from afdctl.models.resnet import ConvBN


class FoldedConvolution(nn.Conv2d):
    """A convolution and its BatchNorm in evaluation mode as one frozen convolution with a bias.

    Where each window covers the whole map, as 3x3 does on 2x2 pixels, the CPU computes it as a dense layer. oneDNN
    takes up to ten times as long there.
    """

    def __init__(self, pair: ConvBN) -> None:
        conv = pair.conv
        # on meta, because initial weights would be drawn from the global generator
        with torch.device("meta"):
            super().__init__(
                conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0], padding=conv.padding[0]
            )
        self.weight = nn.Parameter(torch.zeros_like(conv.weight), requires_grad=False)
        self.bias = nn.Parameter(conv.weight.new_zeros(conv.out_channels), requires_grad=False)
        self.reach = conv.kernel_size[0] // 2
        # by (height, width) of the maps; made from the present weights, once for all steps of an attack
        self.dense_layers: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def fold(self, pair: ConvBN) -> None:
        """Take over the pair's present weights and running statistics."""
        bn = pair.bn
        assert bn.running_mean is not None
        assert bn.running_var is not None
        assert self.bias is not None
        gain = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
        torch.mul(pair.conv.weight, gain.view(-1, 1, 1, 1), out=self.weight)
        torch.addcmul(bn.bias, bn.running_mean, gain, value=-1, out=self.bias)
        self.dense_layers.clear()

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and max(x.shape[2:]) <= self.reach + 1:
            return self.dense(x)
        return super().forward(x)

    def dense(self, x: Tensor) -> Tensor:
        """Compute all output pixels from all pixels."""
        n, _, height, width = x.shape
        if (height, width) not in self.dense_layers:
            self.dense_layers[height, width] = self.as_dense(height, width)
        maps = linear(x.permute(0, 2, 3, 1).flatten(1), *self.dense_layers[height, width])
        rows, columns = (-(-side // self.stride[0]) for side in (height, width))
        maps = maps.view(n, rows, columns, self.out_channels).permute(0, 3, 1, 2)
        # the network's next operation is in place, and its gradient costs more on a view than this copy
        return maps.clone() if maps.requires_grad else maps

    def as_dense(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The weight (h' w' filters, h w channels) and bias (h' w' filters,) of the dense layer for maps (h, w).

        Each output pixel has the taps of its window that meet the map. Channels are the fastest index on both sides.
        """
        assert self.bias is not None
        kernel, stride = self.weight.permute(0, 2, 3, 1), self.stride[0]
        tops, lefts = (range(self.reach, self.reach - side, -stride) for side in (height, width))
        taps = [kernel[:, top : top + height, left : left + width].flatten(1) for top in tops for left in lefts]
        # the taps of a single window are a view of the weight, so no copy is needed
        return taps[0] if len(taps) == 1 else torch.cat(taps), self.bias.repeat(len(taps))


class FusedModel(nn.Module):
    """Computes what `network` computes in evaluation mode, without gradients of its parameters.

    All tensors but the folded convolutions are shared with the network, so only those need `refresh` after an update;
    they keep their place in memory. The network's own mode and gradients are never touched.

    `precision` is that of its passes, by default the network's. Folded weights are rounded to it once an update, not
    once a pass.
    """

    def __init__(self, network: nn.Module, precision: str | None = None) -> None:
        super().__init__()
        self.pairs: list[tuple[ConvBN, FoldedConvolution]] = []
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
        for pair, folded in self.pairs:
            folded.fold(pair)

    def _copy(self, module: nn.Module) -> nn.Module:
        if isinstance(module, ConvBN):
            folded = FoldedConvolution(module)
            self.pairs.append((module, folded))
            return folded
        copy = module.__new__(type(module))
        copy.__dict__ = module.__dict__.copy()
        # a hook of the network is not meant for the steps of an attack
        copy.__dict__ |= {name: type(value)() for name, value in vars(module).items() if name.endswith("_hooks")}
        copy._parameters = {
            name: p if p is None else nn.Parameter(p.detach(), requires_grad=False)
            for name, p in module._parameters.items()
        }
        copy._buffers = module._buffers.copy()
        copy._modules = {name: child if child is None else self._copy(child) for name, child in module._modules.items()}
        # the compiled call is bound to the network
        if copy.__dict__.pop("_compiled_call_impl", None) is not None:
            compile_in_place(copy, vars(copy)["compile_mode"])
        return copy
