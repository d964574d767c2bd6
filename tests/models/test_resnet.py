"""The two residual networks, layer by layer."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, relu

from afdctl.models.resnet import BasicBlock, ConvBN, ResNet, resnet18, resnet18_mnist


@pytest.mark.parametrize(
    ("encoder", "size", "sides", "widths"),
    [
        (resnet18_mnist, 28, [14, 7, 4, 2, 1], [2, 2, 4, 6, 8]),
        (resnet18, 32, [32, 32, 16, 8, 4], [2, 2, 4, 8, 16]),
    ],
)
def test_stem_and_stages_have_the_published_shapes(encoder, size: int, sides: list[int], widths: list[int]):
    network, features = encoder(channels=1, image_size=size, width=2)
    maps = [network.stem(torch.rand(2, 1, size, size))]
    for stage in network.stages:
        maps.append(stage(maps[-1]))
    assert [tuple(m.shape[1:]) for m in maps] == [(w, side, side) for w, side in zip(widths, sides, strict=True)]
    assert features == widths[-1]


def normalised(x: Tensor, pair: ConvBN, stride: int) -> Tensor:
    kernel = pair.conv.weight
    return batch_norm(
        conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2), None, None, pair.bn.weight, pair.bn.bias, True
    )


@pytest.mark.parametrize(("channels", "stride"), [(3, 1), (3, 2), (2, 1)])
def test_a_block_is_two_convolutions_and_a_shortcut(channels: int, stride: int):
    """He et al. 2016, Fig. 2: relu(F(x) + x), with a projection where the shape changes."""
    torch.manual_seed(0)
    block = BasicBlock(channels, 3, stride)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(4, channels, 6, 6)
    same = channels == 3 and stride == 1
    shortcut = x if same else normalised(x, block.shortcut, stride)
    expected = relu(normalised(relu(normalised(x, block.first, stride)), block.second, 1) + shortcut)
    assert torch.allclose(block(x.clone()), expected, atol=1e-5)


def test_features_are_the_mean_over_places():
    torch.manual_seed(0)
    network = ResNet(1, 1, [2, 2], [1, 1]).eval()
    x = torch.rand(3, 1, 6, 6)
    maps = network.stages(relu(network.stem(x)))
    assert network(x).shape == (3, 2)
    assert torch.allclose(network(x), maps.flatten(2).sum(2) / 36, atol=1e-6)
