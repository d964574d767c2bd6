"""F_theta and C_phi: an encoder with normalised features, and a linear classifier."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from afdctl.errors import CorruptError
from afdctl.models.precision import MixedPrecision
from afdctl.registry import ENCODERS, load


class FeatureNorm(nn.Module):
    """Normalises features z (n, m) to length 1 (`l2`), to a learnt length (`scale`), or not at all (`none`).

    The mode is part of the state dict. The published evaluation left this layer out of a network that was trained with
    it, which went unnoticed because the layer had no entry in the checkpoint.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.scale = nn.Parameter(torch.tensor(10.0)) if mode == "scale" else None

    def forward(self, z: Tensor) -> Tensor:
        if self.mode == "none":
            return z
        z = normalize(z)
        return z if self.scale is None else z * self.scale

    def get_extra_state(self) -> str:
        return self.mode

    def set_extra_state(self, state: str) -> None:
        if state != self.mode:
            raise CorruptError(
                f"the checkpoint's features are normalised by '{state}', this network's by '{self.mode}'"
            )


class FeatureClassifier(nn.Module):
    """C_phi(F_theta(x)): images (n, c, h, w) in [0, 1] to logits (n, classes).

    Only the encoder may compute in bfloat16. C_phi costs next to nothing, and logits of 8 bits would often be equal.
    """

    def __init__(self, encoder: nn.Module, features: int, classes: int, norm: str) -> None:
        super().__init__()
        self.features = features
        self.F_theta = MixedPrecision(encoder, FeatureNorm(norm))
        self.C_phi = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.C_phi(self.F_theta(x))
        return logits


def build(
    encoder: str, *, width: int = 64, norm: str = "l2", channels: int, image_size: int, classes: int
) -> FeatureClassifier:
    """Build the network of an encoder in the registry; weights are drawn from torch's global generator.

    `width` is the encoder's number of base filters, `norm` that of its features (see `FeatureNorm`).
    """
    module, features = load(ENCODERS, encoder)(channels=channels, image_size=image_size, width=width)
    network = FeatureClassifier(module, features, classes, norm)
    # Channels last is the fastest layout for convolutions, also on a CPU. With channels that do not fill its vectors,
    # oneDNN writes out of bounds in that layout, such as in the backward pass of a 1x1 convolution of 4 channels with
    # stride 2.
    return network.to(memory_format=torch.channels_last) if width % 16 == 0 else network
