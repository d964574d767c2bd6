"""Test which BatchNorm is folded, and that the gradient to the images stays that of the network."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.models.foldable import convolutions_before_norms
from afdctl.models.fused import FusedModel
from afdctl.models.sync_batch_norm import synchronise
from tests.models.encoders import ENCODERS, moved, small


def gradient(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).square().sum(), x)[0]


def check_gradient(network: FeatureClassifier, x: Tensor) -> FusedModel:
    """In float64, because in float32 a ReLU near 0 may round to its other side."""
    moved(network).double().eval()
    fused, x = FusedModel(network), x.double()
    expected = gradient(network, x)
    assert torch.allclose(gradient(fused, x), expected, rtol=0, atol=1e-12 * expected.abs().max().item())
    return fused


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 32)])
def test_the_folded_gradient_is_the_networks(encoder: str, channels: int, side: int):
    torch.manual_seed(0)
    network = small(encoder, channels=channels, image_size=side)
    check_gradient(network, torch.rand(2, channels, side, side))


@pytest.mark.parametrize(
    ("encoder", "folded", "norms"),
    [
        ("resnet18", 20, 20),
        ("lenet", 0, 0),
        # of each block the second BatchNorm; the first one reads a sum or the stem, which the shortcut reads too
        ("preact_resnet18", 8, 17),
        # also the stem's, which only the first block's BatchNorm reads
        ("wrn-16-2", 7, 13),
        # with one times the filters the first block has no projection, so its shortcut reads the stem
        ("wrn-16-1", 6, 13),
    ],
)
def test_what_is_folded(encoder: str, folded: int, norms: int):
    network = small(encoder)
    fused = FusedModel(network)
    left = sum(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())
    assert (len(fused.folded), left) == (folded, norms - folded)
    synchronise(network)
    assert len(FusedModel(network).folded) == folded


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("resnet18", 20),
        # depthwise convolutions, and BatchNorm with an activation in it
        ("mobilenetv3_small_050", 34),
        ("efficientnet_b0", 49),
        # BatchNorm of a concatenation
        ("densenet121", 59),
        # no BatchNorm at all
        ("vit_tiny_patch16_224", 0),
    ],
)
@pytest.mark.slow
def test_networks_of_timm(name: str, folded: int):
    pytest.importorskip("timm")
    torch.manual_seed(0)
    network = build(f"timm:{name}", channels=3, image_size=32, classes=10)
    assert len(check_gradient(network, torch.rand(2, 3, 32, 32)).folded) == folded


class Layers(nn.Module):
    """A convolution and a BatchNorm in any order of calls."""

    def __init__(self, forward: Callable[["Layers", Tensor], Tensor], **settings: object) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3, **{"padding": 1, **settings}), nn.BatchNorm2d(2)
        self.call = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


@pytest.mark.parametrize(
    ("call", "is_folded"),
    [
        (lambda net, x: net.norm(net.conv(x)), True),
        (lambda net, x: net.conv(net.norm(x)), False),
        # another reader of the maps
        (lambda net, x: net.norm(maps := net.conv(x)) + maps, False),
        (lambda net, x: net.norm(net.conv(x).relu()), False),
        # called twice, so one of the calls has other statistics
        (lambda net, x: net.conv(net.norm(net.conv(x))), False),
        (lambda net, x: net.norm(net.norm(net.conv(x))), False),
        # the weights themselves are read
        (lambda net, x: net.norm(net.conv(x)) * net.conv.weight.mean(), False),
        # code that depends on values
        (lambda net, x: net.norm(net.conv(x)) if x.sum() > 0 else x, False),
    ],
)
def test_only_maps_that_the_norm_alone_reads(call: Callable[[Layers, Tensor], Tensor], is_folded: bool):
    network = Layers(call).eval()
    assert bool(convolutions_before_norms(network)) == is_folded
    x = torch.rand(1, 2, 4, 4)
    assert torch.allclose(FusedModel(network)(x), network(x), atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"bias": True},
        {"groups": 2},
        {"dilation": 2, "padding": 2},
        {"stride": (2, 1)},
        {"padding_mode": "reflect"},
        {"stride": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("side", [2, 9])
def test_convolutions_of_any_kind(settings: dict[str, object], side: int):
    """A window of 3 covers a map of side 2, where plain ones are computed as a dense layer."""
    network = Layers(lambda net, x: net.norm(net.conv(x)), **{"bias": False, **settings}).eval()
    nn.init.uniform_(network.norm.running_mean)
    fused, x = FusedModel(network), torch.rand(3, 2, side, side)
    assert len(fused.folded) == 1
    assert torch.allclose(fused(x), network(x), atol=1e-6)
    assert torch.allclose(gradient(fused, x), gradient(network, x), atol=1e-5)


def test_tracing_leaves_the_random_state_alone():
    network, before = Layers(lambda net, x: net.norm(net.conv(x)) + torch.rand(1)), torch.get_rng_state()
    FusedModel(network)
    assert torch.equal(torch.get_rng_state(), before)
