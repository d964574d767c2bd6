"""The twin computes what the network computes in evaluation mode, and leaves the network alone."""

import pytest
import torch

from afdctl import registry
from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.models.folding import FoldedTwin
from afdctl.recipe.schema import Model


def trained(encoder: str) -> FeatureClassifier:
    """A network whose running statistics and weights are not those of its start."""
    torch.manual_seed(0)
    network = build(Model(encoder=encoder, width=4, norm="scale"), channels=1, image_size=28, classes=10)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        network(3 * torch.rand(16, 1, 28, 28)).square().mean().backward()
        optimizer.step()
    optimizer.zero_grad()
    return network


@pytest.mark.parametrize("encoder", registry.ENCODERS)
def test_twin_equals_evaluation_mode_also_after_an_update(encoder: str):
    network, x = trained(encoder), torch.rand(8, 1, 28, 28)
    twin = FoldedTwin(network)
    for parameter in network.parameters():
        parameter.data += 0.01
    network(x)  # moves the running statistics
    twin.refresh()
    folded = twin(x)
    assert network.training
    assert torch.allclose(folded, network.eval()(x), atol=1e-5)


def test_twin_asks_for_no_gradient_and_shares_what_it_can():
    network = trained("resnet18_mnist")
    twin = FoldedTwin(network)
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in twin.modules())
    assert twin.twin.C_phi.weight.data_ptr() == network.C_phi.weight.data_ptr()
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_refresh_keeps_folded_weights_in_place():
    network = trained("resnet18_mnist")
    twin = FoldedTwin(network)
    before = {name: parameter.data_ptr() for name, parameter in twin.named_parameters()}
    twin.refresh()
    assert {name: parameter.data_ptr() for name, parameter in twin.named_parameters()} == before


def test_hooks_of_the_network_do_not_see_the_twin():
    network, calls = trained("lenet"), []
    network.F_theta.register_forward_hook(lambda *_: calls.append(1))
    FoldedTwin(network)(torch.rand(2, 1, 28, 28))
    assert calls == []
