"""Check the data set that a user's code returns."""

from typing import Any

import torch
from torch import Tensor

from afdctl.data.base import Dataset, ImageTensors
from afdctl.errors import RecipeError


def check(dataset: Any, name: str) -> Dataset:
    """Return the data set if it keeps the contract of `Dataset`; RecipeError names the split and the problem."""
    if not isinstance(dataset, Dataset):
        raise RecipeError(f"{name}: load() returned {type(dataset).__name__}, not a Dataset")
    if len(dataset.classes) < 2:
        raise RecipeError(f"{name}: needs the names of at least 2 classes, has {len(dataset.classes)}")
    for split, images in (("train", dataset.train), ("test", dataset.test)):
        if problem := problem_of(images, len(dataset.classes)):
            raise RecipeError(f"{name}: {split} {problem}")
    if dataset.train.x.shape[1:] != dataset.test.x.shape[1:]:
        shapes = f"{tuple(dataset.train.x.shape[1:])} and {tuple(dataset.test.x.shape[1:])}"
        raise RecipeError(f"{name}: images of train and test have different shapes: {shapes}")
    return dataset


def problem_of(images: ImageTensors, classes: int) -> str | None:
    """Describe what is wrong with the images or labels of a split; None if nothing is."""
    x, y = images.x, images.y
    if not isinstance(x, Tensor) or x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] not in (1, 3):
        return f"images must be uint8 (n, c, h, w) from 0 to 255 with 1 or 3 channels, not {kind_of(x)}"
    if x.shape[2] != x.shape[3]:
        return f"images must be square, not {x.shape[2]} x {x.shape[3]}"
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.ndim != 1:
        return f"labels must be int64 (n,), not {kind_of(y)}"
    if len(x) != len(y) or not len(x):
        return f"has {len(x):,} images and {len(y):,} labels"
    if y.min() < 0 or y.max() >= classes:
        return f"labels are {y.min()} to {y.max()}, but there are {classes} classes: they count from 0"
    return None


def kind_of(value: Any) -> str:
    """Name the type of a value, of a tensor with its shape."""
    return f"{str(value.dtype)[6:]} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
