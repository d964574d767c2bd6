"""Test the moving average of the weights."""

import pytest
import torch

from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.training.ema import ExponentialMovingAverage


@pytest.fixture
def network() -> FeatureClassifier:
    torch.manual_seed(0)
    network = build("resnet18_mnist", width=4, channels=1, image_size=8, classes=3)
    set_to(network, 0.0)
    return network


def set_to(network: FeatureClassifier, value: float) -> None:
    """Give one weight and the first running mean a value."""
    with torch.no_grad():
        network.C_phi.bias.fill_(value)
        next(network.buffers()).fill_(-value)


def test_a_step_averages_weights_and_statistics(network: FeatureClassifier):
    """(0 + 4) / 2, (2 + 8) / 2, (5 + 16) / 2: weights and running statistics alike."""
    average = ExponentialMovingAverage(network, decay=0.5)
    for step, value in enumerate((4.0, 8.0, 16.0), 100):
        set_to(network, value)
        average.update(step)
    assert average.network.C_phi.bias.tolist() == [10.5] * 3
    assert set(next(average.network.buffers()).tolist()) == {-10.5}
    assert network.C_phi.bias.tolist() == [16.0] * 3


def test_the_initial_weights_are_soon_forgotten(network: FeatureClassifier):
    """A constant decay of 0.999 would keep nine tenths of them after a hundred steps."""
    average = ExponentialMovingAverage(network, decay=0.999)
    set_to(network, 1.0)
    for step in range(1, 101):
        average.update(step)
    assert average.network.C_phi.bias.min() > 0.999


def test_the_copy_is_frozen_and_the_network_is_unchanged(network: FeatureClassifier):
    network.train()
    average = ExponentialMovingAverage(network, decay=0.9)
    average.update(1)
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
