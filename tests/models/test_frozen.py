"""A frozen convolution computes what the plain one does, forth and back, whichever way it takes."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from afdctl.models.convolution import Convolution
from afdctl.models.frozen import FrozenConvolution

SHAPES = {"stem": (1, 8, 3, 2), "colour stem": (3, 4, 3, 2), "shortcut": (8, 16, 1, 2), "inner": (8, 8, 3, 2)}


def frozen(shape: tuple[int, int, int, int]) -> FrozenConvolution:
    torch.manual_seed(0)
    convolution = FrozenConvolution(Convolution(*shape))
    for parameter in convolution.parameters():
        parameter.data = torch.randn_like(parameter)
    return convolution


def through(maps: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Maps, and the gradient of a function of them whose slope is of their own size and sign."""
    return maps, torch.autograd.grad(maps.sin().sum(), x)[0]


@pytest.mark.parametrize("size", [(9, 9), (8, 6), (2, 2), (1, 1)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["rows", "channels last"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_equals_the_plain_convolution(
    shape: tuple[int, int, int, int], size: tuple[int, int], layout: torch.memory_format
):
    convolution = frozen(shape).to(memory_format=layout)
    x = torch.rand(5, shape[0], *size).to(memory_format=layout).requires_grad_()
    plain = conv2d(x, convolution.weight, convolution.bias, shape[3], shape[2] // 2)
    for ours, theirs in zip(through(convolution(x), x), through(plain, x), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert all(parameter.grad is None for parameter in convolution.parameters())


def test_dense_layers_are_made_once_and_anew_after_an_update():
    convolution, x = frozen((4, 6, 3, 1)), torch.rand(3, 4, 2, 2)
    convolution(x)
    assert convolution.as_dense(2, 2)[0] is convolution.as_dense(2, 2)[0]
    convolution.weight.data *= 2
    convolution.forget()
    plain = conv2d(x, convolution.weight, convolution.bias, 1, 1)
    assert torch.allclose(convolution(x), plain, atol=1e-5)


def test_making_one_draws_nothing():
    like, before = Convolution(1, 2, 3, 1), torch.get_rng_state()
    FrozenConvolution(like)
    assert torch.equal(torch.get_rng_state(), before)
