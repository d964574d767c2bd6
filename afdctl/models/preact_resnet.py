"""Pre-activation residual networks: PreActResNet-18 and wide residual networks.

He et al. 2016 (arXiv:1603.05027); Zagoruyko & Komodakis 2016 (arXiv:1605.07146).
"""

from collections.abc import Callable, Sequence
from typing import Final

from torch import Tensor, nn, relu_
from torch.nn.functional import silu

Activation = Callable[[Tensor], Tensor]
# SiLU: robust accuracy of wide networks rises by about a point (Gowal et al. 2020, arXiv:2010.03593, section 4.5)
ACTIVATIONS: Final[dict[str, Activation]] = {"relu": relu_, "silu": silu}
# strides of a wide network's three groups
WIDE_STRIDES: Final = (1, 2, 2)


class PreActBlock(nn.Module):
    """BatchNorm and activation before each of two 3x3 convolutions; where the shape changes, a 1x1 shortcut.

    The shortcut is made of the activated maps, as in the published code, and is the identity otherwise.
    """

    def __init__(self, channels: int, filters: int, stride: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        same = stride == 1 and channels == filters
        self.shortcut = None if same else nn.Conv2d(channels, filters, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.activation(self.norm1(x))
        maps: Tensor = self.conv2(self.activation(self.norm2(self.conv1(h))))
        return maps.add_(x if self.shortcut is None else self.shortcut(h))


class PreActResNet(nn.Module):
    """A 3x3 stem, groups of `depth` blocks, BatchNorm, and global average pooling: (n, c, h, w) to (n, widths[-1])."""

    def __init__(
        self, channels: int, *, stem: int, widths: Sequence[int], strides: Sequence[int], depth: int, activation: str
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.stem = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        self.groups = nn.Sequential()
        for before, filters, stride in zip([stem, *widths], widths, strides, strict=False):
            first = PreActBlock(before, filters, stride, self.activation)
            others = [PreActBlock(filters, filters, 1, self.activation) for _ in range(depth - 1)]
            self.groups.append(nn.Sequential(first, *others))
        self.norm = nn.BatchNorm2d(widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        maps = self.activation(self.norm(self.groups(self.stem(x))))
        return maps.mean((2, 3))


def preact_resnet18(channels: int, image_size: int, width: int, activation: str = "relu") -> tuple[nn.Module, int]:
    """Build the CIFAR form: four groups of two blocks, widths that double. Any image size."""
    network = PreActResNet(
        channels,
        stem=width,
        widths=[width, 2 * width, 4 * width, 8 * width],
        strides=[1, 2, 2, 2],
        depth=2,
        activation=activation,
    )
    return network, 8 * width


def wide_resnet(
    channels: int, image_size: int, depth: int, widen: int, activation: str = "relu"
) -> tuple[nn.Module, int]:
    """Build WRN-depth-widen with 16, 32 and 64 times `widen` filters. `depth` is 6n + 4, for groups of n blocks."""
    widths = [16 * widen, 32 * widen, 64 * widen]
    network = PreActResNet(
        channels, stem=16, widths=widths, strides=WIDE_STRIDES, depth=(depth - 4) // 6, activation=activation
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            # as in the published code; torch's default is smaller by a factor of 2.4
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network, widths[-1]
