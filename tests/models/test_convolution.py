"""A convolution computed as a dense layer is the same convolution."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from afdctl.models.convolution import Convolution

SIDES = [(1, 1), (2, 2), (1, 2), (2, 1), (3, 3), (3, 2), (4, 4)]


@pytest.mark.parametrize(("side", "kernel", "stride"), list(product(SIDES, [1, 3, 5], [1, 2])))
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
def test_outputs_and_gradients_are_those_of_conv2d(side, kernel: int, stride: int, layout: torch.memory_format):
    torch.manual_seed(0)
    layer = Convolution(3, 4, kernel, stride).double().to(memory_format=layout)
    layer.bias = nn.Parameter(torch.randn(4, dtype=torch.double))
    x = torch.randn(5, 3, *side, dtype=torch.double).to(memory_format=layout).requires_grad_()
    maps, expected = layer(x), conv2d(x, layer.weight, layer.bias, stride, kernel // 2)
    assert torch.allclose(maps, expected)
    inputs, direction = [x, *layer.parameters()], torch.randn_like(expected)
    gradients = torch.autograd.grad(maps, inputs, direction)
    for gradient, right in zip(gradients, torch.autograd.grad(expected, inputs, direction), strict=True):
        assert torch.allclose(gradient, right)


@pytest.mark.parametrize(
    ("side", "kernel", "dense"),
    [((1, 1), 3, True), ((2, 2), 3, True), ((2, 3), 3, False), ((3, 3), 5, True), ((2, 2), 1, False)],
)
def test_it_is_a_dense_layer_where_each_window_covers_the_map(side, kernel: int, dense: bool, monkeypatch):
    taken = []
    compute = Convolution.dense
    monkeypatch.setattr(Convolution, "dense", lambda self, x: taken.append(x) or compute(self, x))
    Convolution(2, 2, kernel, 1)(torch.rand(1, 2, *side))
    assert bool(taken) == dense


def test_the_output_of_a_dense_layer_is_no_view():
    maps = Convolution(2, 2, 3, 1)(torch.rand(1, 2, 2, 2))
    assert not maps._is_view()
    assert maps.is_contiguous(memory_format=torch.channels_last)
