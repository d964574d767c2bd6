"""Compilation reaches the encoder and its fused copy, and results are kept when a CUDA graph runs again."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from afdctl.models.feature_classifier import build, copy_results, set_performance
from afdctl.models.fused import FusedModel
from afdctl.recipe.schema import COMPILE_MODES


class Reused(torch.autograd.Function):
    """A product whose results are always in the same memory, as those of a CUDA graph are."""

    z, gradient_x, gradient_w = torch.zeros(3), torch.zeros(3), torch.zeros(3)

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return Reused.z.copy_(x * weight)

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return Reused.gradient_x.copy_(slope * weight), Reused.gradient_w.copy_(slope * x)


def results(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Features, and gradients of images and weights."""
    x = x.clone().requires_grad_()
    z = module(x)
    return [z.detach(), *torch.autograd.grad(z.sum(), [x, *module.parameters()])]


def test_results_outlive_the_next_call():
    module = nn.Module()
    module.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    module._compiled_call_impl = lambda x: Reused.apply(x, module.weight)
    first, second = torch.ones(3), torch.full((3,), 5.0)
    assert torch.equal(results(module, first)[2], first)
    overwritten = results(module, first)
    results(module, second)
    assert torch.equal(overwritten[2], second), "the fake graph overwrites its results"
    copy_results(module)
    z, gradient_x, gradient_w = results(module, first)
    results(module, second)
    assert torch.equal(z, module.weight)
    assert torch.equal(gradient_x, module.weight)
    assert torch.equal(gradient_w, first)
    with torch.no_grad():
        assert torch.equal(module(second), 5 * module.weight)


@pytest.mark.slow
def test_the_recompile_limit_is_raised():
    """A training needs ten variants; by default torch runs the ninth and later ones uncompiled."""
    network = build("lenet", width=2, channels=1, image_size=8, classes=3)
    with torch._dynamo.config.patch(recompile_limit=8):
        set_performance(network, "float32", None)
        assert torch._dynamo.config.recompile_limit == 8
        set_performance(network, "float32", "default")
        assert torch._dynamo.config.recompile_limit >= 32


@pytest.mark.parametrize("mode", COMPILE_MODES)
def test_the_mode_reaches_torch_compile(monkeypatch: pytest.MonkeyPatch, mode: str):
    """Also for the fused copy that the adversary attacks."""
    calls: list[tuple[nn.Module, dict[str, Any]]] = []
    monkeypatch.setattr(torch, "compile", lambda call, **knobs: calls.append((call.__self__, knobs)) or call)
    network = build("lenet", width=2, channels=1, image_size=8, classes=3)
    set_performance(network, "float32", None)
    assert calls == []
    set_performance(network, "float32", mode)
    fused = FusedModel(network).copy
    assert [module for module, _ in calls] == [network.F_theta[0], fused.F_theta[0]]
    assert [knobs for _, knobs in calls] == 2 * [{"dynamic": False, "mode": mode}]
