"""The features of images: what the classifier C_phi sees of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from afdctl.errors import RecipeError
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.store.shards import Arrays
from afdctl.sweep.figures import Array


@dataclass(frozen=True)
class Features:
    """Of n images, in float32: z (n, m) is F(x), `length` (n,) its L2 norm before it is normalised, logits (n, k)."""

    z: Array
    length: Array
    logits: Array

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        return cls(arrays["z"], arrays["length"], arrays["logits"])

    def arrays(self) -> Arrays:
        return {"z": self.z, "length": self.length, "logits": self.logits}

    def errors(self, label: Array) -> float:
        """The share of images that are not classified as `label` (n,); logits that are no numbers are errors."""
        right = (self.logits.argmax(1) == label) & np.isfinite(self.logits).all(1)
        return float(1 - right.mean())


Extract = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Images (n, c, h, w) to z, length and logits, without gradients."""


def extractor(network: nn.Module) -> Extract:
    """How to take the features of a network; those of a model of one's own are what its last linear layer is given.

    Error: RecipeError for a model without such a layer.
    """
    return _ours(network) if isinstance(network, FeatureClassifier) else _foreign(network)


def _ours(network: FeatureClassifier) -> Extract:
    encoder, norm = network.F_theta

    @torch.no_grad()
    def extract(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = encoder(x)
        z = norm(h)
        return z.float(), h.float().norm(dim=1), network.C_phi(z).float()

    return extract


def _foreign(network: nn.Module) -> Extract:
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise RecipeError("the model has no linear layer (nn.Linear), before which its features could be taken")

    @torch.no_grad()
    def extract(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen: list[Tensor] = []
        watch = linear[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
        try:
            logits = network(x)
        finally:
            watch.remove()
        if not seen:
            raise RecipeError("the model does not use its last linear layer, before which its features would be taken")
        z = seen[-1].flatten(1).float()
        return z, z.norm(dim=1), logits.float()

    return extract


def on_host(blocks: list[tuple[Tensor, Tensor, Tensor]]) -> Features:
    """The batches' features as arrays."""
    z, length, logits = (torch.cat(parts).cpu().numpy() for parts in zip(*blocks, strict=True))
    return Features(z, length, logits)
