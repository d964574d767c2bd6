"""Test the optimizer's step with gradients of any memory layout."""

import pytest
import torch
from torch import Tensor, nn

from afdctl.analysis import divergence
from afdctl.defenses.base import Defense, Report, apply_gradients, can_fuse, forward_pair


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


def test_joint_statistics_normalise_a_pair_as_the_trained_network_does():
    x, x_adv = torch.zeros(4, 1, 1, 1), torch.ones(4, 1, 1, 1)
    norm = nn.BatchNorm2d(1, momentum=1.0)
    z, z_adv = forward_pair(norm, x, x_adv, "joint")
    # mean 1/2, standard deviation 1/2
    assert torch.allclose(z, torch.tensor(-1.0), atol=1e-4)
    assert torch.allclose(z_adv, torch.tensor(1.0), atol=1e-4)
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, torch.tensor(0.5))
    z, z_adv = forward_pair(nn.BatchNorm2d(1), x, x_adv, "separate")
    assert torch.equal(z, torch.zeros_like(x))
    assert torch.equal(z_adv, torch.zeros_like(x))


def test_a_trained_tensor_that_is_no_parameter_stays_that_of_its_optimizer():
    """State is set back by AWP and by a resume; another tensor would no longer be trained."""

    class WithTensor(Defense):
        def __init__(self) -> None:
            self.temperature = torch.ones(1, requires_grad=True)

        def step(self, x: Tensor, y: Tensor) -> Report:
            return {}

    defense = WithTensor()
    temperature = defense.temperature
    defense.set_values({"temperature": torch.tensor([3.0])})
    assert defense.temperature is temperature
    assert temperature.requires_grad
    assert temperature.item() == 3
