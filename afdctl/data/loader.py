"""Batches on the device: a split is copied there once, and shuffled there; a mapped one stays in its file."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Generator, Tensor

from afdctl.data.base import ImageTensors
from afdctl.errors import RecipeError


class Split:
    """Labelled images on a device: x uint8, or floats in [0, 1], (n, c, h, w), y int64 (n,)."""

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


def hold_out(count: int, holdout: int, seed: int, train_limit: int | None = None) -> tuple[Tensor, Tensor]:
    """Set `holdout` of `count` random training images aside for validation; return the numbers of (training, held-out).

    Both are in the order of the permutation that the seed gives, so `train_limit`, the number of training images to
    keep, changes no held-out image. Error: RecipeError where there are too few images.
    """
    remaining = count - holdout
    if remaining <= 0:
        raise RecipeError(f"data.holdout = {holdout}: only {count} training images; hold out fewer")
    if train_limit is not None and train_limit > remaining:
        raise RecipeError(
            f"data.train_limit = {train_limit}: only {remaining} training images are not held out; lower it"
        )
    # on the CPU, so that the hold-out is the same for all devices
    order = torch.randperm(count, generator=Generator().manual_seed(seed))
    return order[holdout:][:train_limit], order[:holdout]


def as_floats(x: Tensor) -> Tensor:
    """Convert uint8, or floats in [0, 1], to float32 in [0, 1]."""
    return x / 255 if x.dtype == torch.uint8 else x.float()


def batches(split: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the split in order as (x float32 in [0, 1], y); the last batch may be smaller."""
    for x, y in zip(torch.split(split.x, batch_size), torch.split(split.y, batch_size), strict=True):
        yield as_floats(x), y


class Sampler:
    """Endless shuffled batches of the images `rows` (n,) of a training split, augmented; never waits for the device.

    It does wait where images are mapped: each batch is then read from the file on the CPU.

    With `extra`, the share `extra_share` of each batch are random images of these instead, with replacement. An epoch
    has as many images as without them, so it leaves that share of the training images out (Gowal et al. 2021,
    arXiv:2110.09468).

    With several `processes`, all draw the same order, and the one of `rank` gets its part of each batch; `part` is its
    share of the images, `images` the number of all. Parts differ by one image where the last batch of an epoch cannot
    be divided. If it has fewer than two images for each process, every process gets all of them, as one of `copies`,
    and counts for an equal share.

    The shuffle generator is on the device and belongs to the caller, who saves it, as those of `augment`. `epoch`
    counts completed epochs, `batch` the batches taken in the current one. After the last batch of an epoch, `batch`
    stays at `steps_per_epoch` until `start_epoch` or the next call of `next`, so that the caller can validate in
    between.
    """

    def __init__(
        self,
        images: ImageTensors,
        *,
        rows: Tensor,
        device: torch.device | str,
        batch_size: int,
        augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        shuffle_generator: Generator,
        extra: ImageTensors | None = None,
        extra_share: float = 0.0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.rank, self.processes = rank, processes
        self.part, self.copies = 1.0, 1
        self.split, self.rows, self.device = _training_split(images, device), rows.to(device), device
        self.extra = _training_split(extra, device) if extra else None
        self.extra_share = extra_share
        self.batch_size = batch_size
        self.augment = augment
        self.shuffle_generator = shuffle_generator
        self.steps_per_epoch = count_batches(len(rows), batch_size)
        if not self.steps_per_epoch:
            raise RecipeError(f"only {len(rows)} image to train on; lower data.holdout or raise data.train_limit")
        self.epoch = self.batch = self.images = 0
        self._epoch_start = shuffle_generator.get_state()

    def __len__(self) -> int:
        """Return the number of training images, without `extra`."""
        return len(self.rows)

    def start_epoch(self) -> None:
        """Complete the current epoch; the next batch is the first of a new order."""
        self.epoch += 1
        self.batch = 0

    def next(self) -> tuple[Tensor, Tensor]:
        """Return the next batch: x float32 (n, c, h, w) in [0, 1]; y int64 (n,), or float32 (n, classes) if mixed."""
        if self.batch == self.steps_per_epoch:
            self.start_epoch()
        if self.batch == 0:
            self._epoch_start = self.shuffle_generator.get_state()
            self._shuffle()
        index = self._order[self.batch * self.batch_size :][: self.batch_size]
        self.batch += 1
        self.images = len(index)
        count = round(self.extra_share * len(index))
        # positions of the batch that are this process's: the extra images come first
        every, first = (self.processes, self.rank) if len(index) >= 2 * self.processes else (1, 0)
        self.copies = self.processes // every
        self.part = len(index[first::every]) / len(index) / self.copies
        x, y = self._take(self.split, self.rows[index[count:][(first - count) % every :: every]])
        if self.extra and count:
            drawn = torch.randint(len(self.extra), (count,), generator=self.shuffle_generator, device=self.device)
            more_x, more_y = self._take(self.extra, drawn[first::every])
            x, y = torch.cat([as_floats(more_x), as_floats(x)]), torch.cat([more_y, y])
        x, y = self.augment(x, y)
        return as_floats(x), y

    def _take(self, split: Split, index: Tensor) -> tuple[Tensor, Tensor]:
        index = index.to(split.x.device)
        # contiguous, as mapped images may have their channels last
        return split.x[index].contiguous().to(self.device), split.y[index].to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the position: plain integers, and the shuffle generator's state at the start of the epoch."""
        # the order of the epoch follows from the generator's state, so it is not saved
        return {"epoch": self.epoch, "batch": self.batch, "shuffle": self._epoch_start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Move to a saved position; leaves the generators as they are."""
        self.epoch, self.batch, self._epoch_start = state["epoch"], state["batch"], state["shuffle"]
        # repeats the epoch's order without advancing the caller's generator
        current = self.shuffle_generator.get_state()
        self.shuffle_generator.set_state(self._epoch_start)
        self._shuffle()
        self.shuffle_generator.set_state(current)

    def _shuffle(self) -> None:
        self._order = torch.randperm(len(self.rows), generator=self.shuffle_generator, device=self.device)


def _training_split(images: ImageTensors, device: torch.device | str) -> Split:
    return Split(images, "cpu" if images.mapped else device)


def count_batches(images: int, batch_size: int) -> int:
    """Return the training steps per epoch; a last batch of one image is dropped, BatchNorm cannot train on it."""
    full, rest = divmod(images, batch_size)
    return full + (rest > 1)
