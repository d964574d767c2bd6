"""Batches on the device: a split is copied there once; shuffling, crop and flip run there too."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from afdctl.data.base import ImageTensors
from afdctl.errors import RecipeError

# `data.augment` of a recipe
Augmentation = Literal["none", "crop", "crop_flip"]


class Split:
    """Labelled images on a device: x uint8 (n, c, h, w), y int64 (n,)."""

    def __init__(self, images: "ImageTensors | Split", device: torch.device | str) -> None:
        # as uint8, which takes a quarter of the memory; each batch is converted when it is used
        self.x: Tensor = images.x.to(device)
        self.y: Tensor = images.y.to(device)

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str) -> "Split":
        """Return the same images on another device."""
        return Split(self, device)

    def head(self, limit: int) -> "Split":
        """Return the first `limit` images."""
        return Split(ImageTensors(self.x[:limit], self.y[:limit]), self.x.device)

    def select(self, index: Tensor) -> "Split":
        """Return the images with these numbers (n,), in this order."""
        index = index.to(self.x.device)
        return Split(ImageTensors(self.x[index], self.y[index]), self.x.device)


def hold_out(
    images: ImageTensors, count: int, seed: int, train_limit: int | None = None
) -> tuple[ImageTensors, ImageTensors]:
    """Set `count` random images aside for validation; return (training, held-out) images.

    Both are in the order of the permutation that the seed gives, so `train_limit`, the number of training images to
    keep, changes no held-out image. Error: RecipeError where there are too few images.
    """
    remaining = len(images) - count
    if remaining <= 0:
        raise RecipeError(f"data.holdout = {count}: only {len(images)} training images; hold out fewer")
    if train_limit is not None and train_limit > remaining:
        raise RecipeError(
            f"data.train_limit = {train_limit}: only {remaining} training images are not held out; lower it"
        )
    # on the CPU, so that the hold-out is the same for all devices
    order = torch.randperm(len(images), generator=Generator().manual_seed(seed))
    train, holdout = order[count:][:train_limit], order[:count]
    return ImageTensors(images.x[train], images.y[train]), ImageTensors(images.x[holdout], images.y[holdout])


def as_floats(x: Tensor) -> Tensor:
    """Convert uint8 to float32 in [0, 1]."""
    return x / 255


def batches(split: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the split in order as (x float32 in [0, 1], y); the last batch may be smaller."""
    for x, y in zip(torch.split(split.x, batch_size), torch.split(split.y, batch_size), strict=True):
        yield as_floats(x), y


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


class Sampler:
    """Endless shuffled batches of a split; never waits for the device.

    Both generators are on the split's device and belong to the caller, who saves them. `epoch` counts completed epochs,
    `batch` the batches taken in the current one. After the last batch of an epoch, `batch` stays at `steps_per_epoch`
    until `start_epoch` or the next call of `next`, so that the caller can validate in between.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        augment: Augmentation,
        crop_padding: int,
        shuffle_generator: Generator,
        augment_generator: Generator,
    ) -> None:
        self.split = split
        self.batch_size = batch_size
        self.augment = augment
        self.crop_padding = crop_padding
        self.shuffle_generator = shuffle_generator
        self.augment_generator = augment_generator
        self.steps_per_epoch = count_batches(len(split), batch_size)
        if not self.steps_per_epoch:
            raise RecipeError(f"only {len(split)} image to train on; lower data.holdout or raise data.train_limit")
        self.epoch = 0
        self.batch = 0
        self._epoch_start = shuffle_generator.get_state()

    def start_epoch(self) -> None:
        """Complete the current epoch; the next batch is the first of a new order."""
        self.epoch += 1
        self.batch = 0

    def next(self) -> tuple[Tensor, Tensor]:
        """Return the next batch: x float32 (n, c, h, w) in [0, 1], y int64 (n,)."""
        if self.batch == self.steps_per_epoch:
            self.start_epoch()
        if self.batch == 0:
            self._epoch_start = self.shuffle_generator.get_state()
            self._shuffle()
        index = self._order[self.batch * self.batch_size :][: self.batch_size]
        self.batch += 1
        x = self.split.x[index]
        if self.augment != "none":
            x = crop(x, self.augment_generator, padding=self.crop_padding, flip=self.augment == "crop_flip")
        return as_floats(x), self.split.y[index]

    def state_dict(self) -> dict[str, Any]:
        """Return the position: plain integers, and the shuffle generator's state at the start of the epoch."""
        # the order of the epoch follows from the generator's state, so it is not saved
        return {"epoch": self.epoch, "batch": self.batch, "shuffle": self._epoch_start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Move to a saved position; leaves both generators as they are."""
        self.epoch, self.batch, self._epoch_start = state["epoch"], state["batch"], state["shuffle"]
        # repeats the epoch's order without advancing the caller's generator
        current = self.shuffle_generator.get_state()
        self.shuffle_generator.set_state(self._epoch_start)
        self._shuffle()
        self.shuffle_generator.set_state(current)

    def _shuffle(self) -> None:
        self._order = torch.randperm(len(self.split), generator=self.shuffle_generator, device=self.split.x.device)


def count_batches(images: int, batch_size: int) -> int:
    """Return the training steps per epoch; a last batch of one image is dropped, BatchNorm cannot train on it."""
    full, rest = divmod(images, batch_size)
    return full + (rest > 1)
