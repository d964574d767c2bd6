"""Test that the fused copy computes the same as the network in evaluation mode, and does not change it."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, fold

from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.fused import FoldedConvolution, FusedModel
from afdctl.models.precision import DTYPES
from afdctl.models.resnet import ConvBN
from tests.models.encoders import ENCODERS, small

SIDES = [(1, 1), (2, 2), (1, 2), (2, 1), (3, 3), (3, 2), (4, 4), (9, 9)]


def trained(encoder: str) -> FeatureClassifier:
    """A network whose running statistics and weights are not those of its start."""
    torch.manual_seed(0)
    network = small(encoder, norm="scale")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        network(3 * torch.rand(16, 1, 28, 28)).square().mean().backward()
        optimizer.step()
    optimizer.zero_grad()
    return network


@pytest.mark.parametrize("encoder", ENCODERS)
def test_it_equals_evaluation_mode_also_after_an_update(encoder: str):
    network, x = trained(encoder), torch.rand(8, 1, 28, 28)
    fused = FusedModel(network)
    for parameter in network.parameters():
        parameter.data += 0.01
    network(x)  # moves the running statistics
    fused.update()
    folded = fused(x)
    assert network.training
    assert torch.allclose(folded, network.eval()(x), atol=1e-5)


def test_a_network_in_float64_stays_so():
    network, x = trained("resnet18_mnist").double().eval(), torch.rand(2, 1, 28, 28, dtype=torch.double)
    assert torch.allclose(FusedModel(network)(x), network(x))


def test_it_follows_what_the_networks_own_code_sets():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.temperature = 1.0
            self.register_buffer("mean", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(1) - self.mean) / self.temperature

    layer = Scaled()
    network = nn.Sequential(layer, nn.Identity(), layer)
    fused, x = FusedModel(network.train()), torch.rand(2, 1, 3, 3)
    layer.temperature, layer.mean = 0.5, torch.ones(1)
    fused.update()
    assert torch.equal(fused(x), network(x))
    assert torch.equal(fused(x), 4 * x.flatten(1) - 6)
    assert not fused.copy[0].training


def test_it_needs_no_gradients_and_shares_all_other_tensors():
    network = trained("resnet18_mnist")
    fused = FusedModel(network)
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    assert fused.copy.C_phi.weight.data_ptr() == network.C_phi.weight.data_ptr()
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_an_update_keeps_folded_weights_in_place():
    network = trained("resnet18_mnist")
    fused = FusedModel(network)
    before = {name: parameter.data_ptr() for name, parameter in fused.named_parameters()}
    fused.update()
    assert {name: parameter.data_ptr() for name, parameter in fused.named_parameters()} == before


def test_hooks_of_the_network_do_not_see_it():
    network, calls = trained("lenet"), []
    network.F_theta.register_forward_hook(lambda *_: calls.append(1))
    FusedModel(network)(torch.rand(2, 1, 28, 28))
    assert calls == []


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_network_itself_holds_plain_convolutions(encoder: str):
    """Their names are those of every checkpoint."""
    network = trained(encoder)
    found = {type(module) for module in network.modules() if isinstance(module, nn.Conv2d)}
    assert found == {nn.Conv2d}
    if encoder == "resnet18_mnist":
        keys = {"F_theta.0.stem.conv.weight", "F_theta.0.stages.0.0.shortcut.conv.weight"}
        assert keys <= set(network.state_dict())


def folded(channels: int, kernel: int, stride: int) -> FoldedConvolution:
    """With weights and biases that are all different."""
    torch.manual_seed(0)
    convolution = FoldedConvolution(ConvBN(channels, 4, kernel, stride).conv, torch.float32)
    for parameter in convolution.parameters():
        parameter.data = torch.randn_like(parameter)
    return convolution


def plain(convolution: FoldedConvolution, x: Tensor) -> Tensor:
    return conv2d(x, convolution.weight, convolution.bias, convolution.stride, convolution.padding)


@pytest.mark.parametrize(("side", "kernel", "stride"), list(product(SIDES, [1, 3, 5], [1, 2])))
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
def test_maps_and_gradients_are_those_of_conv2d(
    side: tuple[int, int], kernel: int, stride: int, layout: torch.memory_format
):
    layer = folded(3, kernel, stride).double().to(memory_format=layout)
    x = torch.randn(5, 3, *side, dtype=torch.double).to(memory_format=layout).requires_grad_()
    maps, expected = layer(x), plain(layer, x)
    direction = torch.randn_like(expected)
    assert torch.allclose(maps, expected)
    for gradient, right in zip(*(torch.autograd.grad(of, x, direction) for of in (maps, expected)), strict=True):
        assert torch.allclose(gradient, right)


@pytest.mark.parametrize(
    ("side", "kernel", "dense"),
    [((1, 1), 3, True), ((2, 2), 3, True), ((2, 3), 3, False), ((3, 3), 5, True), ((2, 2), 1, False)],
)
def test_it_is_a_dense_layer_where_each_window_covers_the_map(
    side: tuple[int, int], kernel: int, dense: bool, monkeypatch: pytest.MonkeyPatch
):
    calls: list[Tensor] = []
    compute = FoldedConvolution.dense
    monkeypatch.setattr(FoldedConvolution, "dense", lambda self, x: calls.append(x) or compute(self, x))
    folded(2, kernel, 1)(torch.rand(1, 2, *side))
    assert bool(calls) == dense


def test_the_maps_of_a_dense_layer_are_no_view():
    maps = folded(2, 3, 1)(torch.rand(1, 2, 2, 2).requires_grad_())
    assert not maps._is_view()
    assert maps.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("channels", "stride", "n", "by_fold"),
    [(1, 2, 4, True), (3, 2, 4, True), (4, 2, 4, False), (3, 1, 4, False), (3, 2, 0, False)],
)
def test_fold_computes_the_gradient_of_a_strided_convolution_of_images(
    channels: int, stride: int, n: int, by_fold: bool, monkeypatch: pytest.MonkeyPatch
):
    """In channels last too; an empty batch takes the usual path."""
    calls: list[Tensor] = []

    def counting(windows: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(windows)
        return fold(windows, *args, **kwargs)

    monkeypatch.setattr("afdctl.models.fused.fold", counting)
    layer = folded(channels, 3, stride).to(memory_format=torch.channels_last)
    x = torch.rand(n, channels, 28, 28).to(memory_format=torch.channels_last).requires_grad_()
    maps, expected = layer(x), plain(layer, x)
    direction = torch.randn_like(expected)
    gradient, right = (torch.autograd.grad(of, x, direction)[0] for of in (maps, expected))
    assert bool(calls) == by_fold
    assert gradient.shape == x.shape
    assert torch.allclose(gradient, right, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "side", "precision", "first"),
    [
        (512, 4, "float32", True),
        (512, 8, "float32", True),
        (512, 9, "float32", False),
        (128, 4, "float32", False),
        (512, 4, "bf16", False),
    ],
)
def test_a_convolution_of_many_weights_is_computed_with_channels_first_on_small_maps(
    channels: int, side: int, precision: str, first: bool, monkeypatch: pytest.MonkeyPatch
):
    """Its maps have channels last again."""
    calls: list[Tensor] = []
    compute = FoldedConvolution.channels_first
    monkeypatch.setattr(FoldedConvolution, "channels_first", lambda self, x: calls.append(x) or compute(self, x))
    pair = ConvBN(channels, 512, 3, 1).eval().to(memory_format=torch.channels_last)
    torch.nn.init.normal_(pair.bn.bias)
    network = nn.Sequential(pair)
    fused = FusedModel(network, precision).copy
    x = torch.randn(2, channels, side, side).to(DTYPES[precision], memory_format=torch.channels_last).requires_grad_()
    maps = fused(x)
    assert bool(calls) == first
    assert maps.is_contiguous(memory_format=torch.channels_last)
    if precision == "float32":
        expected = pair(x)
        assert torch.allclose(maps, expected, atol=1e-5)
        (gradient,), (right,) = (torch.autograd.grad(of.square().sum(), x) for of in (maps, expected))
        assert torch.allclose(gradient, right, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("side", [1, 2, 9])
def test_an_empty_batch_has_empty_maps_and_gradients(side: int, kernel: int, stride: int):
    x = torch.rand(0, 1, side, side).requires_grad_()
    maps = folded(1, kernel, stride)(x)
    assert maps.shape == (0, 4, *[-(-side // stride)] * 2)
    (gradient,) = torch.autograd.grad(maps.sum(), x)
    assert gradient.shape == x.shape


def test_dense_layers_are_made_once_for_each_update():
    pair = ConvBN(4, 6, 3, 1).eval()
    layer, x = FoldedConvolution(pair.conv, torch.float32), torch.rand(3, 4, 2, 2)
    with torch.no_grad():
        for _ in range(2):
            layer.fold(pair.conv, pair.bn)
            layer(x)
            made = layer.dense_layers[2, 2]
            assert torch.allclose(layer(x), pair(x), atol=1e-6)
            assert layer.dense_layers[2, 2] is made
            pair.conv.weight.mul_(2)


def test_making_it_draws_no_random_numbers():
    network, before = trained("resnet18_mnist"), torch.get_rng_state()
    FusedModel(network)
    assert torch.equal(torch.get_rng_state(), before)
