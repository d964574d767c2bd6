"""A data set in a file: bars and squares at random places, with noise.

afdctl train docs/examples/shapes.toml
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from afdctl import Dataset, DatasetLoader, ImageTensors
from afdctl.recipe.data import Data

CLASSES = ("horizontal", "vertical", "square")
SIDE = 12


class Shapes(DatasetLoader):
    """1,500 training and 300 test images (1, 12, 12)."""

    label = "Shapes"
    name = "shapes"

    class Config(Data):
        """The keys of [data]."""

        noise: float = 0.1

    def load(self, roots: Sequence[Path], *, noise: float, **_: Any) -> Dataset:
        """Draw both splits; the digest of the images goes into run.json."""
        generator = torch.Generator().manual_seed(0)
        train, test = draw(1500, noise, generator), draw(300, noise, generator)
        return Dataset(name=self.name, train=train, test=test, classes=CLASSES)


def draw(n: int, noise: float, generator: torch.Generator) -> ImageTensors:
    """Draw n images, uint8 (n, 1, 12, 12), and their labels, int64 (n,)."""
    y = torch.arange(n) % len(CLASSES)
    x = torch.rand((n, 1, SIDE, SIDE), generator=generator) * noise
    places = torch.randint(1, SIDE - 6, (n, 2), generator=generator).tolist()
    for image, label, (top, left) in zip(x, y.tolist(), places, strict=True):
        height, width = ((2, 5), (5, 2), (4, 4))[label]
        image[0, top : top + height, left : left + width] += 0.7
    return ImageTensors((x.clamp(0, 1) * 255).round().to(torch.uint8), y)
