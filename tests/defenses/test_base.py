"""Test the optimizer's step with gradients of any memory layout."""

import pytest
import torch
from torch import nn

from afdctl.analysis import divergence
from afdctl.defenses.base import apply_gradients, can_fuse


def test_gradients_of_another_layout_move_the_right_weights():
    weight = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last)
    gradient = torch.rand(4, 3, 2, 2)  # not channels last
    layer = nn.Parameter(weight.clone(memory_format=torch.preserve_format))
    norm = apply_gradients(torch.optim.SGD([layer], lr=0.1, fused=True), [gradient])
    assert torch.allclose(layer, weight - 0.1 * gradient)
    assert torch.allclose(norm, torch.linalg.vector_norm(gradient))
    assert layer.grad is None


def test_updates_are_fused_only_where_torch_can(monkeypatch: pytest.MonkeyPatch):
    assert can_fuse([torch.nn.Parameter(torch.ones(2))])
    assert not can_fuse([torch.nn.Parameter(torch.ones(2, device="meta"))])
    monkeypatch.setattr(divergence, "PROBE_STEPS", 1)
    z, y = torch.ones(4, 3, device="meta"), torch.zeros(4, dtype=torch.long, device="meta")
    assert not divergence._train_probe(z, z, y, classes=2, seed=0).training
