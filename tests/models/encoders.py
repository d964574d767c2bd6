"""Every built-in encoder, small: fixed names, and an example of each family that needs no optional library."""

from typing import Any

import torch
from torch import nn

from afdctl import registry
from afdctl.models.feature_classifier import FeatureClassifier, build

ENCODERS = (*registry.ENCODERS, "wrn-10-1", "wrn-10-1-silu")


def small(encoder: str, *, width: int = 4, **more: Any) -> FeatureClassifier:
    """Build an encoder with few filters, where its name does not decide them."""
    keys = {"width": width} if "width" in registry.ENCODERS[encoder].keys else {}
    return build(encoder, **keys, **{"channels": 1, "image_size": 28, "classes": 10, **more})


def moved(network: FeatureClassifier) -> FeatureClassifier:
    """Change weights and running statistics of a network, so that no BatchNorm is the identity."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    tensor.add_(torch.rand(tensor.shape, generator=generator), alpha=0.2)
    return network
