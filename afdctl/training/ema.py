"""Exponential moving average of a network's weights (Gowal et al. 2020, arXiv:2010.03593)."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from afdctl.models.feature_classifier import FeatureClassifier


class ExponentialMovingAverage:
    """Keeps the average over training steps in `network`, a frozen copy in evaluation mode.

    `decay` is the weight of the previous average in a step. BatchNorm's running statistics are averaged as well, since
    they belong to the weights.
    """

    def __init__(self, network: FeatureClassifier, decay: float) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self._pairs = list(zip(float_tensors(self.network), float_tensors(network), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Average in the weights after `step`, counted from 1.

        The decay starts at 2 / 11 and grows to `decay`, so that the random initial weights are soon forgotten.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, weights = (list(tensors) for tensors in zip(*self._pairs, strict=True))
        # one fused kernel for all tensors
        torch._foreach_lerp_(averages, weights, 1 - decay)


def float_tensors(module: nn.Module) -> list[Tensor]:
    """Return the parameters and buffers that can be averaged, which are all except counters."""
    return [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]
