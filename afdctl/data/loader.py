"""Batches on the device: the split lies there once, and shuffling, crop and flip happen there."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from afdctl.data.base import ImageTensors
from afdctl.errors import RecipeError

PAD = 4


class Split:
    """Labelled images on a device: x uint8 (n, c, h, w), y int64 (n,)."""

    def __init__(self, images: "ImageTensors | Split", device: torch.device | str) -> None:
        self.x: Tensor = images.x.to(device)
        self.y: Tensor = images.y.to(device)

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str) -> "Split":
        """The same images on another device."""
        return Split(self, device)

    def head(self, limit: int | None) -> "Split":
        """The first `limit` images; None: all."""
        return Split(ImageTensors(self.x[:limit], self.y[:limit]), self.x.device)


def hold_out(images: ImageTensors, count: int, seed: int) -> tuple[ImageTensors, ImageTensors]:
    """Set `count` images apart for validation: (rest, held out), both in the order that the seed gives."""
    if count >= len(images):
        raise RecipeError(f"data.holdout = {count}: only {len(images)} training images; hold out fewer")
    order = torch.randperm(len(images), generator=Generator().manual_seed(seed))
    rest, held = order[count:], order[:count]
    return ImageTensors(images.x[rest], images.y[rest]), ImageTensors(images.x[held], images.y[held])


def as_floats(x: Tensor) -> Tensor:
    """uint8 to float32 in [0, 1]."""
    return x / 255


def batches(split: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The split in order, as (x float32 in [0, 1], y); the last batch may be smaller."""
    for x, y in zip(torch.split(split.x, batch_size), torch.split(split.y, batch_size), strict=True):
        yield as_floats(x), y


def crop_flip(x: Tensor, generator: Generator) -> Tensor:
    """Each image of (n, c, h, w), padded by 4 zeros, cropped back at a random place, and mirrored or not."""
    n, c, h, w = x.shape
    arange = torch.arange(max(n, c, h, w), device=x.device)
    corner = torch.randint(2 * PAD + 1, (2, n, 1, 1, 1), generator=generator, device=x.device)
    mirror = torch.randint(2, (n, 1, 1, 1), generator=generator, device=x.device).bool()
    rows = corner[0] + arange[:h, None]
    columns = corner[1] + torch.where(mirror, arange[:w].flip(0), arange[:w])
    return pad(x, (PAD, PAD, PAD, PAD))[arange[:n, None, None, None], arange[:c, None, None], rows, columns]


class Sampler:
    """Endless shuffled batches of a split on the device; nothing in it waits for the device.

    Both generators live on the split's device and belong to the caller, who saves them. `epoch` counts completed
    epochs, `batch` the batches done in this one. After the last batch `batch` stays at `steps_per_epoch` until
    `start_epoch`, or the next `next`, completes the epoch, so that a loop can validate in between.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        augment: Literal["none", "crop_flip"],
        shuffle_generator: Generator,
        augment_generator: Generator,
    ) -> None:
        self.split = split
        self.batch_size = batch_size
        self.augment = augment
        self.shuffle_generator = shuffle_generator
        self.augment_generator = augment_generator
        full, rest = divmod(len(split), batch_size)
        # BatchNorm cannot train on a single image, so a last batch of one is left out
        self.steps_per_epoch = full + (rest > 1)
        if not self.steps_per_epoch:
            raise RecipeError(f"only {len(split)} image to train on; lower data.holdout")
        self.epoch = 0
        self.batch = 0
        self._start = shuffle_generator.get_state()

    def start_epoch(self) -> None:
        """Complete this epoch; the next batch is the first of a new order."""
        self.epoch += 1
        self.batch = 0

    def next(self) -> tuple[Tensor, Tensor]:
        """The next batch: x float32 (n, c, h, w) in [0, 1], y int64 (n,); the last of an epoch may be smaller."""
        if self.batch == self.steps_per_epoch:
            self.start_epoch()
        if self.batch == 0:
            self._start = self.shuffle_generator.get_state()
            self._shuffle()
        index = self._order[self.batch * self.batch_size :][: self.batch_size]
        self.batch += 1
        x = self.split.x[index]
        if self.augment == "crop_flip":
            x = crop_flip(x, self.augment_generator)
        return as_floats(x), self.split.y[index]

    def state_dict(self) -> dict[str, Any]:
        """The position: plain integers, and the shuffle generator's state at the epoch's start."""
        return {"epoch": self.epoch, "batch": self.batch, "shuffle": self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position; both generators stay where they are."""
        self.epoch, self.batch, self._start = state["epoch"], state["batch"], state["shuffle"]
        now = self.shuffle_generator.get_state()
        self.shuffle_generator.set_state(self._start)
        self._shuffle()
        self.shuffle_generator.set_state(now)

    def _shuffle(self) -> None:
        self._order = torch.randperm(len(self.split), generator=self.shuffle_generator, device=self.split.x.device)
