"""A convolution that knows when it is a dense layer."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class Convolution(nn.Conv2d):
    """A square kernel without bias, padded so that only the stride makes a map smaller.

    Where each window covers the whole map, as 3x3 does on 2x2 pixels, the CPU computes it as a dense layer: oneDNN
    takes up to ten times as long there, most of it for the weight's gradient.
    """

    def __init__(self, channels: int, filters: int, kernel: int, stride: int) -> None:
        super().__init__(channels, filters, kernel, stride, padding=kernel // 2, bias=False)
        self.reach = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and max(x.shape[2:]) <= self.reach + 1:
            return self.dense(x)
        return super().forward(x)

    def dense(self, x: Tensor) -> Tensor:
        """All output pixels from all pixels."""
        _, _, height, width = x.shape
        weight, bias = self.as_dense(height, width)
        maps = linear(x.permute(0, 2, 3, 1).flatten(1), weight, bias)
        maps = maps.view(
            x.shape[0], -(-height // self.stride[0]), -(-width // self.stride[1]), self.out_channels
        ).permute(0, 3, 1, 2)
        # a copy where there is a way back: what comes next works in place, which costs more there on a view
        return maps.clone() if maps.requires_grad else maps

    def as_dense(self, height: int, width: int) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the dense layer for maps of a size: for each pixel the taps of its window that meet them.

        Pixels in rows, the channels of each together: (h' w' filters, h w channels) and (h' w' filters,).
        """
        kernel, stride = self.weight.permute(0, 2, 3, 1), self.stride[0]
        tops, lefts = (range(self.reach, self.reach - side, -stride) for side in (height, width))
        taps = [kernel[:, top : top + height, left : left + width].flatten(1) for top in tops for left in lefts]
        bias = None if self.bias is None else self.bias.repeat(len(taps))
        # one window's taps are a view already
        return taps[0] if len(taps) == 1 else torch.cat(taps), bias
