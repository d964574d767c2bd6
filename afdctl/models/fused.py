"""A copy of a network for attacks: evaluation mode, no weight gradients, BatchNorm folded into the convolutions.

Folding makes a training step 1.46 (MNIST) and 1.27 (CIFAR-10) times as fast on a CPU.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, fold, linear

from afdctl.models.feature_classifier import compile_in_place
from afdctl.models.precision import DTYPES, precision_of, set_precision
from afdctl.models.resnet import ConvBN

# with at most this many input channels, `fold` is faster than oneDNN for the input gradient
MAX_CHANNELS_FOR_FOLD: Final = 3


class FusedModel(nn.Module):
    """Computes what `network` computes in evaluation mode, without gradients of its parameters.

    All tensors except the folded convolutions are shared with the network, so only those need `update` after a step of
    an optimizer. They keep their place in memory. The network's own mode and gradients are not touched.

    `precision` is that of the encoder's passes, by default the network's. Folded weights are rounded to it once per
    update, not once per pass.
    """

    def __init__(self, network: nn.Module, precision: str | None = None) -> None:
        super().__init__()
        self.folded: list[tuple[ConvBN, FoldedConvolution]] = []
        self.copy = self._copy(network).eval()
        precision = precision or precision_of(network)
        set_precision(self.copy, precision)
        for _, convolution in self.folded:
            convolution.to(DTYPES[precision])
        self.update()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.copy(x)
        return logits

    @torch.no_grad()
    def update(self) -> None:
        """Fold the network's current weights and running statistics."""
        for pair, convolution in self.folded:
            convolution.fold(pair)

    def _copy(self, module: nn.Module) -> nn.Module:
        if isinstance(module, ConvBN):
            convolution = FoldedConvolution(module)
            self.folded.append((module, convolution))
            return convolution
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


class FoldedConvolution(nn.Conv2d):
    """A convolution and its BatchNorm in evaluation mode as one frozen convolution with a bias.

    Three cases take a faster path on a CPU: maps that a single window covers (`dense`), strided 1x1 convolutions
    (`pointwise`), and strided convolutions of images (`InputGradientByFold`).
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
        # by (height, width) of the maps; built from the current weights, once for all steps of an attack
        self.dense_layers: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def fold(self, pair: ConvBN) -> None:
        """Copy the pair's current weights and running statistics into this convolution."""
        bn = pair.bn
        assert bn.running_mean is not None
        assert bn.running_var is not None
        assert self.bias is not None
        gain = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
        torch.mul(pair.conv.weight, gain.view(-1, 1, 1, 1), out=self.weight)
        torch.addcmul(bn.bias, bn.running_mean, gain, value=-1, out=self.bias)
        self.dense_layers.clear()

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        # 1.14 times as fast a step on MNIST: oneDNN takes up to ten times as long where a window covers the whole map
        if max(x.shape[2:]) <= self.reach + 1:
            return self.dense(x)
        if self.stride[0] > 1 and self.reach == 0:
            return self.pointwise(x)
        # `fold` rejects an empty batch
        if self.stride[0] > 1 and self.in_channels <= MAX_CHANNELS_FOR_FOLD and len(x):
            maps: Tensor = InputGradientByFold.apply(x, self.weight, self.bias, self.stride[0])
            return maps
        return super().forward(x)

    def pointwise(self, x: Tensor) -> Tensor:
        """Compute a strided 1x1 convolution as a dense layer on every other pixel."""
        # 0.97 of the MNIST AFD step's time, as oneDNN is slow for this stride. Channels must be last before the slice,
        # otherwise its gradient changes the layout and the step takes 1.1 times as long.
        stride = self.stride[0]
        pixels = x.permute(0, 2, 3, 1)[:, ::stride, ::stride].contiguous()
        return linear(pixels, self.weight[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)

    def dense(self, x: Tensor) -> Tensor:
        """Compute all output pixels from all input pixels, as a dense layer does."""
        n, _, height, width = x.shape
        if (height, width) not in self.dense_layers:
            self.dense_layers[height, width] = self.as_dense(height, width)
        maps = linear(x.permute(0, 2, 3, 1).flatten(1), *self.dense_layers[height, width])
        rows, columns = (-(-side // self.stride[0]) for side in (height, width))
        maps = maps.view(n, rows, columns, self.out_channels).permute(0, 3, 1, 2)
        # the network's next operation is in place, and its gradient costs more on a view than this copy
        return maps.clone() if maps.requires_grad else maps

    def as_dense(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return weight (h' w' filters, h w channels) and bias (h' w' filters,) of the dense layer for maps (h, w).

        Each output pixel has the taps of its window that meet the map. Channels are the fastest index on both sides.
        """
        assert self.bias is not None
        kernel, stride = self.weight.permute(0, 2, 3, 1), self.stride[0]
        tops, lefts = (range(self.reach, self.reach - side, -stride) for side in (height, width))
        taps = [kernel[:, top : top + height, left : left + width].flatten(1) for top in tops for left in lefts]
        # the taps of a single window are a view of the weight, so no copy is needed
        return taps[0] if len(taps) == 1 else torch.cat(taps), self.bias.repeat(len(taps))


class InputGradientByFold(torch.autograd.Function):
    """A convolution of images x (n, c, h, w) with frozen weights, whose input gradient `fold` computes.

    oneDNN fills its vectors with channels, so the gradient of a grey image costs as much as that of eight channels.
    """

    # 0.92 of the MNIST AFD step's time with oneDNN's gradient (mnist_wgan, batch 128, one CPU thread)

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.stride = x.shape, stride
        return conv2d(x, weight, bias, stride, weight.shape[2] // 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        kernel = weight.shape[2]
        pixels = gradient.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
        # `fold` takes images one at a time, so the batch becomes the channels of a single image
        windows = (weight.flatten(1).t() @ pixels).flatten(0, 1)
        x_gradient = fold(windows, ctx.shape[2:], kernel, padding=kernel // 2, stride=ctx.stride)
        return x_gradient.view(ctx.shape), None, None, None
