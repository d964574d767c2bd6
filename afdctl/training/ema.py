"""A moving average of a network's weights, which is more robust than they are where they go up and down."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from afdctl.models.feature_classifier import FeatureClassifier


class ExponentialMovingAverage:
    """The exponential moving average over training steps (Gowal et al. 2020: model weight averaging), in `network`.

    `decay` is the weight that it keeps in a step. Running statistics are averaged with the weights they belong to.
    """

    def __init__(self, network: FeatureClassifier, decay: float) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self._pairs = list(zip(floats(self.network), floats(network), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights as they are after `step`, counted from 1.

        The first ones, which know nothing, are forgotten faster: it reaches back a ninth of the steps done, until that
        is as far as `decay` does.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, present = (list(tensors) for tensors in zip(*self._pairs, strict=True))
        torch._foreach_lerp_(averages, present, 1 - decay)


def floats(module: nn.Module) -> list[Tensor]:
    """A module's parameters and buffers that can be averaged: all but counters."""
    return [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]
