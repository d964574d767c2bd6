"""ResNet-18 (He et al. 2016, arXiv:1512.03385) in the two forms of the paper."""

from collections.abc import Sequence

from torch import Tensor, nn, relu_


class ConvBN(nn.Module):
    """A convolution and its BatchNorm, which `fused.FoldedConvolution` merges into one convolution."""

    def __init__(self, channels: int, filters: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(filters)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.bn(self.conv(x))
        return normalised


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: a 1x1 convolution where the shape changes, else the identity."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.first = ConvBN(channels, filters, 3, stride)
        self.second = ConvBN(filters, filters, 3, 1)
        same = stride == 1 and channels == filters
        self.shortcut = nn.Identity() if same else ConvBN(channels, filters, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.second(relu_(self.first(x)))
        return relu_(maps.add_(self.shortcut(x)))


class ResNet(nn.Module):
    """A 3x3 stem, stages of two blocks, and global average pooling: images (n, c, h, w) to (n, widths[-1])."""

    def __init__(self, channels: int, stem_stride: int, widths: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.stem = ConvBN(channels, widths[0], 3, stem_stride)
        self.stages = nn.Sequential()
        for before, filters, stride in zip([widths[0], *widths], widths, strides, strict=False):
            self.stages.append(nn.Sequential(BasicBlock(before, filters, stride), BasicBlock(filters, filters, 1)))

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.stages(relu_(self.stem(x)))
        return maps.mean((2, 3))


def resnet18(channels: int, image_size: int, width: int) -> tuple[nn.Module, int]:
    """Build the CIFAR form: a stem of stride 1, widths that double. Any image size."""
    return ResNet(channels, 1, [width, 2 * width, 4 * width, 8 * width], [1, 2, 2, 2]), 8 * width


def resnet18_mnist(channels: int, image_size: int, width: int) -> tuple[nn.Module, int]:
    """Build the published MNIST form: stride 2 in the stem and all stages, widths 1, 2, 3, 4 times `width`."""
    return ResNet(channels, 2, [width, 2 * width, 3 * width, 4 * width], [2, 2, 2, 2]), 4 * width
