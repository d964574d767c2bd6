"""Augmentation of a batch on its device: crop, flip, random erasing, CutMix; drawn from generators of the caller."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

# `data.augment` of a recipe
Crop = Literal["none", "crop", "crop_flip"]
# area of the erased rectangle as a share of the image, and the largest ratio of its sides (Zhong et al. 2020)
ERASED_AREA: Final = (0.02, 0.33)
LARGEST_RATIO: Final = 1 / 0.3


class Augmentation:
    """Crops, erases and mixes the images of a batch, in this order.

    `random_erasing` is the probability for an image, `cutmix` the alpha of CutMix's Beta distribution; 0 leaves either
    out. `generator` is on the device of the images, `mix_generator` on the CPU. The caller saves both.
    """

    def __init__(
        self,
        *,
        augment: Crop = "none",
        crop_padding: int = 4,
        random_erasing: float = 0.0,
        cutmix: float = 0.0,
        classes: int,
        generator: Generator,
        mix_generator: Generator,
    ) -> None:
        self.augment, self.crop_padding, self.random_erasing = augment, crop_padding, random_erasing
        self.generator, self.mix_generator = generator, mix_generator
        self._cutmix = None
        if cutmix:
            # imported here, because it takes seconds and only this needs it
            from torchvision.transforms.v2 import CutMix

            self._cutmix = CutMix(alpha=cutmix, num_classes=classes)

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return images (n, c, h, w) of the same dtype and labels: y (n,), or with CutMix float32 (n, classes)."""
        if self.augment != "none":
            x = crop(x, self.generator, padding=self.crop_padding, flip=self.augment == "crop_flip")
        if self.random_erasing:
            x = erase(x, self.generator, self.random_erasing)
        if self._cutmix:
            with continuing(self.mix_generator):
                x, y = self._cutmix(x, y)
        return x, y


def crop(x: Tensor, generator: Generator, *, padding: int, flip: bool) -> Tensor:
    """Pad each image of (n, c, h, w) with zeros and crop it back at a random place; `flip` mirrors half of them."""
    n, c, h, w = x.shape
    arange = torch.arange(max(n, c, h, w), device=x.device)
    corner = torch.randint(2 * padding + 1, (2, n, 1, 1, 1), generator=generator, device=x.device)
    # one gather for the whole batch instead of a crop per image
    rows, columns = corner[0] + arange[:h, None], arange[:w]
    if flip:
        mirror = torch.randint(2, (n, 1, 1, 1), generator=generator, device=x.device).bool()
        columns = torch.where(mirror, columns.flip(0), columns)
    padded = pad(x, (padding,) * 4)
    return padded[arange[:n, None, None, None], arange[:c, None, None], rows, corner[1] + columns]


def erase(x: Tensor, generator: Generator, probability: float) -> Tensor:
    """Black out a random rectangle in some images of (n, c, h, w) (Zhong et al. 2020, arXiv:1708.04896).

    torchvision's v2.RandomErasing draws one rectangle for a whole batch, and waits for the device.
    """
    n, _, h, w = x.shape
    chosen, area, ratio, top, left = torch.rand((5, n, 1, 1, 1), generator=generator, device=x.device)
    area = h * w * (ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * area)
    ratio = torch.exp(math.log(LARGEST_RATIO) * (2 * ratio - 1))
    # one row and one column always remain
    height = (area * ratio).sqrt().round().clamp(1, h - 1)
    width = (area / ratio).sqrt().round().clamp(1, w - 1)
    top, left = (top * (h - height + 1)).floor(), (left * (w - width + 1)).floor()
    row, column = torch.arange(h, device=x.device)[:, None], torch.arange(w, device=x.device)
    inside = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
    return x.masked_fill(inside & (chosen < probability), 0)


@contextmanager
def continuing(generator: Generator) -> Iterator[None]:
    """Let torch's global CPU generator continue `generator`, which then resumes from there; restore the global one.

    torchvision draws from no other: it takes no generator.
    """
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator.get_state())
        yield
        generator.set_state(torch.get_rng_state())
