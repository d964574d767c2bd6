"""A copy of a network for attacks: evaluation mode, no weight gradients, BatchNorm folded into the convolutions.

Folding makes a training step 1.46 (MNIST) and 1.27 (CIFAR-10) times as fast on a CPU.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, fold, linear

from afdctl.models.feature_classifier import compile_in_place
from afdctl.models.foldable import after_normalisation, convolutions_before_norms, is_plain
from afdctl.models.precision import DTYPES, precision_of, set_precision

# with at most this many input channels, `fold` is faster than oneDNN for the input gradient
MAX_CHANNELS_FOR_FOLD: Final = 3
# from this number of weights on, oneDNN's float32 convolution is slow with channels last
MANY_WEIGHTS: Final = 1 << 20
# largest side of a map for which channels first are faster then: 512 channels take 0.48 to 0.58 of the time at 4 x 4,
# 0.73 to 0.77 at 8 x 8, and 1.05 to 1.11 at 16 x 16 (one CPU thread)
MAX_SIDE_FOR_CHANNELS_FIRST: Final = 8


class FusedModel(nn.Module):
    """Computes what `network` computes in evaluation mode, without gradients of its parameters.

    All tensors except the folded convolutions are shared with the network, so only those need `update` after a step of
    an optimizer. They keep their place in memory. The network's own mode and gradients are not touched.

    `precision` is that of the encoder's passes, by default the network's. Folded weights are rounded to it once per
    update, not once per pass.
    """

    def __init__(self, network: nn.Module, precision: str | None = None) -> None:
        super().__init__()
        precision = precision or precision_of(network)
        self.copy = _frozen_copy(network).eval()
        # autocast, which is no part of the graph, would end the search for pairs
        set_precision(self.copy, "float32")
        self.folded: list[tuple[nn.Conv2d, nn.BatchNorm2d, FoldedConvolution]] = []
        for conv_name, norm_name in convolutions_before_norms(self.copy):
            conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            convolution = FoldedConvolution(conv, conv.weight.dtype if precision == "float32" else DTYPES[precision])
            self.copy.set_submodule(conv_name, convolution)
            self.copy.set_submodule(norm_name, after_normalisation(self.copy.get_submodule(norm_name)))
            self.folded.append((conv, norm, convolution))
        set_precision(self.copy, precision)
        for module in self.copy.modules():
            if "compile_mode" in vars(module):
                compile_in_place(module, vars(module)["compile_mode"])
        # the folded layers are other modules
        replaced = {id(layer) for pair in self.folded for layer in pair[:2]}
        names = [name for name, module in network.named_modules(remove_duplicate=False) if id(module) not in replaced]
        self.attributes = [AttributeCopy(network.get_submodule(name), self.copy.get_submodule(name)) for name in names]
        self.update()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.copy(x)
        return logits

    @torch.no_grad()
    def update(self) -> None:
        """Fold the network's current weights and running statistics, and copy what its own code has set since."""
        for attributes in self.attributes:
            attributes.update()
        for conv, norm, convolution in self.folded:
            convolution.fold(conv, norm)


def _frozen_copy(module: nn.Module) -> nn.Module:
    """Copy the modules but not the tensors, which need no gradients in the copy."""
    copy = module.__new__(type(module))
    copy.__dict__ = module.__dict__.copy()
    # a compiled call is bound to the network
    copy.__dict__.pop("_compiled_call_impl", None)
    # a hook of the network is not meant for the steps of an attack
    copy.__dict__ |= {name: type(value)() for name, value in vars(module).items() if name.endswith("_hooks")}
    copy._parameters = {
        name: p if p is None else nn.Parameter(p.detach(), requires_grad=False)
        for name, p in module._parameters.items()
    }
    copy._buffers = module._buffers.copy()
    copy._modules = {name: child if child is None else _frozen_copy(child) for name, child in module._modules.items()}
    return copy


class AttributeCopy:
    """Follows the attributes and buffers of a module that its code sets anew in training, such as a temperature.

    What the copy has set itself, such as its mode or precision, stays while the module's own value does.
    """

    def __init__(self, module: nn.Module, copy: nn.Module) -> None:
        self.module, self.copy = module, copy
        self.seen = vars(module) | module._buffers

    def update(self) -> None:
        for key, value in vars(self.module).items():
            if value is not self.seen.get(key) and key not in ("training", "_compiled_call_impl"):
                self.seen[key] = vars(self.copy)[key] = value
        for key, buffer in self.module._buffers.items():
            if buffer is not self.seen.get(key):
                self.seen[key] = self.copy._buffers[key] = buffer


class FoldedConvolution(nn.Conv2d):
    """A convolution and its BatchNorm in evaluation mode as one frozen convolution with a bias.

    Four cases take a faster path on a CPU: maps that a single window covers (`dense`), strided 1x1 convolutions
    (`pointwise`), strided convolutions of images (`InputGradientByFold`), and many weights on small maps
    (`channels_first`).
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        # on meta, because initial weights would be drawn from the global generator
        with torch.device("meta"):
            super().__init__(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,  # type: ignore[arg-type]
                conv.stride,  # type: ignore[arg-type]
                padding=conv.padding,  # type: ignore[arg-type]
                dilation=conv.dilation,  # type: ignore[arg-type]
                groups=conv.groups,
                padding_mode=conv.padding_mode,
            )
        self.reach = conv.kernel_size[0] // 2
        self.is_plain = is_plain(conv)
        on_cpu = conv.weight.device.type == "cpu" and dtype == torch.float32
        many = conv.weight.numel() >= MANY_WEIGHTS and conv.stride == (1, 1)
        self.is_channels_first = self.is_plain and on_cpu and many and not conv.weight.is_contiguous()
        layout = torch.contiguous_format if self.is_channels_first else torch.preserve_format
        weight = torch.zeros_like(conv.weight, dtype=dtype, memory_format=layout)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(weight.new_zeros(conv.out_channels), requires_grad=False)
        # by (height, width) of the maps; built from the current weights, once for all steps of an attack
        self.dense_layers: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def fold(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        """Copy the current weights and running statistics of the two into this convolution."""
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert self.bias is not None
        gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        torch.mul(conv.weight, gain.view(-1, 1, 1, 1), out=self.weight)
        mean = norm.running_mean if conv.bias is None else norm.running_mean - conv.bias
        torch.addcmul(norm.bias, mean, gain, value=-1, out=self.bias)
        self.dense_layers.clear()

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not self.is_plain:
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
        if self.is_channels_first and max(x.shape[2:]) <= MAX_SIDE_FOR_CHANNELS_FIRST:
            return self.channels_first(x)
        return super().forward(x)

    def channels_first(self, x: Tensor) -> Tensor:
        """Convolve maps with channels first and return them with channels last."""
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)

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
