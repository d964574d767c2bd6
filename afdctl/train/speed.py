"""How a recipe's [train] table wants the same figures computed faster: the one place where a training decides it."""

from typing import Final

import torch

from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.precision import set_precision
from afdctl.recipe.schema import Train

FORMS: Final = 64
"""So many may be compiled, where torch stops at eight."""


def quicken(network: FeatureClassifier, train: Train) -> None:
    """Set the precision of the encoder's passes, and compile it where the recipe asks for that; twins follow it."""
    set_precision(network, train.precision)
    if train.compile:
        # network and twins share one count: with and without gradients, and for each batch size, they came to ten
        torch._dynamo.config.recompile_limit = max(FORMS, torch._dynamo.config.recompile_limit)
        # kernels of their own for each batch size: there are two, and an epoch's last batch would cost the others
        network.F_theta[0].compile(dynamic=False)


def captures(train: Train, device: torch.device) -> bool:
    """Whether the adversary becomes a CUDA graph."""
    return train.graphs is True and device.type == "cuda"


def captures_step(train: Train, device: torch.device) -> bool:
    """Whether the whole step becomes one."""
    return train.graphs == "step" and device.type == "cuda"
