"""An encoder in a file: a small convolutional network whose activation is a key of [model].

afdctl train docs/examples/encoder.toml
"""

from typing import Literal

from torch import Tensor, nn

from afdctl.recipe.model import Model

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}


class SmallNet(nn.Module):
    """Images (n, channels, h, w) to features (n, 4 width)."""

    label = "SmallNet"

    class Config(Model):
        """The keys of [model]."""

        activation: Literal["relu", "silu", "gelu"] = "relu"

    def __init__(self, channels: int, width: int, activation: str) -> None:
        super().__init__()
        act = ACTIVATIONS[activation]
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), act(), nn.MaxPool2d(2)),
            *(nn.Conv2d(width, 4 * width, 3, padding=1), nn.BatchNorm2d(4 * width), act()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features; afdctl adds their normalisation and the classifier."""
        z: Tensor = self.body(x)
        return z
