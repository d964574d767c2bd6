"""Test synchronised BatchNorm in one process, against torch's layers; tests/training has several processes."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from afdctl import allreduce
from afdctl.models import sync_batch_norm
from afdctl.models.sync_batch_norm import shared_statistics, synchronise

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


class AsOnGPU(TorchDispatchMode):
    """Refuses sums of a backward pass without a weight or saved values, as a GPU does and a CPU does not."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.native_batch_norm_backward.default:
            assert all(isinstance(args[position], Tensor) for position in (2, 5, 6))
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def _first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_batch_norm.distributed, "get_rank", lambda: 0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm1d, (7, 3)), (nn.BatchNorm2d, (5, 3, 4, 2))])
def test_a_layer_computes_what_torch_s_does(
    kind: type[nn.Module], shape: tuple[int, ...], affine: bool, momentum: float | None, dtype: torch.dtype, device: str
):
    torch.manual_seed(0)
    expected = kind(3, affine=affine, momentum=momentum, device=device)
    for parameter in expected.parameters():
        nn.init.uniform_(parameter, 0.5, 2.0)
    layer = copy.deepcopy(expected)
    synchronise(layer)
    # statistics of two batches, which a momentum of None averages
    for scale in (2.0, 3.0):
        values = scale * torch.randn(shape, device=device) + 1
        x = values.to(dtype).requires_grad_()
        exact_x = x.detach().float().requires_grad_()
        slope = torch.randn(shape, device=device).to(dtype)
        y, exact_y = layer._normalise(x), expected(exact_x)
        gradients = torch.autograd.grad(exact_y, [exact_x, *expected.parameters()], slope.float())
        with AsOnGPU():
            own = torch.autograd.grad(y, [x, *layer.parameters()], slope)
        assert (y.dtype, own[0].dtype) == (dtype, dtype)
        for value, exact in zip([y, *own], [exact_y, *gradients], strict=True):
            relative = 0.01 if value.dtype == torch.bfloat16 else 1e-5
            torch.testing.assert_close(value, exact.to(value.dtype), rtol=relative, atol=1e-5)
    torch.testing.assert_close(layer.state_dict(), expected.state_dict())


@pytest.mark.parametrize("device", DEVICES)
def test_a_part_without_images_counts_for_nothing(monkeypatch: pytest.MonkeyPatch, device: str):
    rows: list[Tensor] = []
    monkeypatch.setattr(allreduce, "process_count", lambda: 2)
    monkeypatch.setattr(allreduce, "total", lambda row: rows.append(row) or sum(rows))
    monkeypatch.setattr(sync_batch_norm.distributed, "get_rank", lambda: len(rows))
    x = torch.randn(5, 3, 4, 2, device=device)
    whole = shared_statistics(x)
    torch.testing.assert_close(shared_statistics(x[:0]), whole)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("affine", [True, False])
def test_a_part_without_images_has_no_gradient(affine: bool, device: str):
    layer = nn.BatchNorm2d(3, affine=affine, device=device)
    synchronise(layer)
    x = torch.zeros(0, 3, 4, 2, device=device, requires_grad=True)
    x_gradient, *own = torch.autograd.grad(layer._normalise(x).sum(), [x, *layer.parameters()])
    assert x_gradient.shape == x.shape
    assert all(gradient.tolist() == [0.0] * 3 for gradient in own)
