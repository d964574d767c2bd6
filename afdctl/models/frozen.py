"""A convolution whose weights nobody trains, and what the CPU can save of it: half of an attack's way back.

oneDNN fills its vectors with channels, so the gradient of a grey image costs as much as that of eight channels; and it
takes a 1x1 convolution with a stride for a sparse one, where a dense layer on every other pixel does.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, fold, linear

from afdctl.models.convolution import Convolution

FEW: Final = 3
"""So many channels leave most of a vector empty."""


class FrozenConvolution(Convolution):
    """Another convolution's shape with a bias; whoever writes its weights calls `forget` after."""

    def __init__(self, like: Convolution) -> None:
        # without weights of its own, which would be drawn from the global generator
        with torch.device("meta"):
            super().__init__(like.in_channels, like.out_channels, like.kernel_size[0], like.stride[0])
        self.weight = nn.Parameter(torch.zeros_like(like.weight), requires_grad=False)
        self.bias = nn.Parameter(like.weight.new_zeros(like.out_channels), requires_grad=False)
        self.made: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = {}

    def forward(self, x: Tensor) -> Tensor:
        strided = x.device.type == "cpu" and self.stride[0] > 1
        if strided and self.reach == 0:
            maps: Tensor = _Pointwise.apply(x, self.weight, self.bias, self.stride[0])
        elif strided and self.in_channels <= FEW:
            maps = _Stem.apply(x, self.weight, self.bias, self.stride[0])
        else:
            maps = super().forward(x)
        return maps

    def as_dense(self, height: int, width: int) -> tuple[Tensor, Tensor | None]:
        if (height, width) not in self.made:
            self.made[height, width] = super().as_dense(height, width)
        return self.made[height, width]

    def forget(self) -> None:
        """Make the dense layers anew, from the present weights."""
        self.made.clear()


class _Pointwise(torch.autograd.Function):
    """A 1x1 convolution with a stride."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.stride = x.shape, stride
        # gathered, as a dense layer of pixels that do not lie side by side is a product for each row of the image
        pixels = x.permute(0, 2, 3, 1)[:, ::stride, ::stride].contiguous()
        return linear(pixels, weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,), (n, channels, height, width) = ctx.saved_tensors, ctx.shape
        slope = gradient.new_zeros(n, height, width, channels)
        slope[:, :: ctx.stride, :: ctx.stride] = gradient.permute(0, 2, 3, 1) @ weight[:, :, 0, 0]
        return slope.permute(0, 3, 1, 2), None, None, None


class _Stem(torch.autograd.Function):
    """A convolution of images with few channels, with a stride."""

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
        # images as channels of one, as `fold` takes images one at a time
        windows = (weight.flatten(1).t() @ pixels).flatten(0, 1)
        slope = fold(windows, ctx.shape[2:], kernel, padding=kernel // 2, stride=ctx.stride)
        return slope.view(ctx.shape), None, None, None
