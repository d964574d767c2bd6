"""Checkpoints as the authors' code saves them: our weights under the names of its modules."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from afdctl.models.feature_classifier import FeatureClassifier

State = dict[str, Any]


class SpectralHead(nn.Module):
    """The discriminator's layers with the older spectral normalisation, and their names."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        normalised = nn.utils.spectral_norm
        self.linear1 = normalised(nn.Linear(features, features))
        self.linear2 = normalised(nn.Linear(features, features))
        self.l7 = normalised(nn.Linear(features, 1))
        self.l_y = normalised(nn.Embedding(classes, features))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Scores (n,) of features z (n, m)."""
        for layer in (self.linear1, self.linear2):
            z = nn.functional.leaky_relu(layer(z), 0.2)
        score: Tensor = self.l7(z)[:, 0] + (self.l_y(y) * z).sum(1)
        return score


def encoder(network: FeatureClassifier, cifar: bool) -> State:
    """E_state_dict of a ResNet-18: `layers.1.0.conv1.weight`, or `layer1.0.conv1.weight` for CIFAR."""
    start = "layer" if cifar else "layers."
    names = {
        r"^stem\.conv": "conv1",
        r"^stem\.bn": "bn1",
        r"^stages\.(\d)": lambda match: f"{start}{int(match[1]) + 1}",
        r"first\.conv": "conv1",
        r"first\.bn": "bn1",
        r"second\.conv": "conv2",
        r"second\.bn": "bn2",
        r"shortcut\.conv": "shortcut.0",
        r"shortcut\.bn": "shortcut.1",
    }
    return {renamed(name, names): value.clone() for name, value in network.F_theta[0].state_dict().items()}


def classifier(network: FeatureClassifier, cifar: bool) -> State:
    """Dc_state_dict."""
    layer = "linear" if cifar else "linear2"
    return {f"{layer}.{name}": value.clone() for name, value in network.C_phi.state_dict().items()}


def checkpoint(network: FeatureClassifier, head: SpectralHead, cifar: bool = False, gpus: int = 1) -> State:
    """What afd_train.py saves; on several GPUs only EDa is wrapped."""
    E = encoder(network, cifar)
    EDa = {f"encoder.{name}": value for name, value in E.items()} | head.state_dict()
    return {
        "E_state_dict": E,
        "Dc_state_dict": classifier(network, cifar),
        "EDa_state_dict": {("module." if gpus > 1 else "") + name: value for name, value in EDa.items()},
        "epoch": 100,
        "iteration": 46900,
        "enc_model": "resnet18norm",
        "optE": torch.optim.SGD(network.parameters(), lr=0.5).state_dict(),
    }


def renamed(name: str, names: dict[str, Any]) -> str:
    for pattern, replacement in names.items():
        name = re.sub(pattern, replacement, name)
    return name


def shake(*modules: nn.Module) -> None:
    """Give every weight and statistic a different value, as a training does."""
    for module in modules:
        for name, tensor in module.state_dict().items():
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and not name.endswith(("_u", "_v")):
                tensor += 0.1 * torch.rand_like(tensor)
