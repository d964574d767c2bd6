"""Labelled images from a file of arrays, checked: shapes, types, values and labels."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from afdctl.data.array_file import NumpyArray, StoredArray, guarded
from afdctl.data.base import ImageTensors
from afdctl.errors import CorruptError
from afdctl.formatting import format_bytes, shorten, shorten_list

# bytes of images up to which they are copied to the device; more stay in their file, and each batch is read from there
IN_MEMORY_BYTES: Final = 4 << 30
CHANNELS: Final = (1, 3)
# sides in pixels; as the smallest side is larger than any number of channels, no shape has two readings
SMALLEST_SIDE, LARGEST_SIDE = 8, 512
# the largest int32; no data set has so many classes
MAX_LABEL: Final = (1 << 31) - 1
# bytes that are checked at once
CHUNK_BYTES: Final = 1 << 26
# largest rounding error of k / 255 as float32, in units of 1 / 255, with a margin of 3
LEVEL_ERROR: Final = 1e-4


@dataclass(frozen=True)
class Named:
    """An array with its file and name, for messages."""

    path: Path
    name: str
    stored: StoredArray

    def error(self, reason: str) -> CorruptError:
        """Return the error that says what is wrong with this array."""
        return CorruptError(f"{self.path}: {self.name} {reason}")


def read_images(path: Path, arrays: Mapping[str, StoredArray], x_name: str, y_name: str) -> ImageTensors:
    """Read and check images with their labels. Error: CorruptError says what is wrong with which array."""
    for name in (x_name, y_name):
        if name not in arrays:
            names = shorten_list(list(map(shorten, arrays)))
            raise CorruptError(f"{path}: no array '{name}' (it has: {names or 'none'})")
        if arrays[name].dtype.hasobject:
            raise CorruptError(f"{path}: {name} holds Python objects, which are not read: save it as numbers")
    x, y = (Named(path, name, arrays[name]) for name in (x_name, y_name))
    channel_axis = _channel_axis(x)
    labels = _labels(y, x)
    images = _pixels(x)
    if channel_axis is None:
        images = images.unsqueeze(1)
    elif channel_axis == 3:
        images = images.permute(0, 3, 1, 2)
    in_memory = x.stored.nbytes <= IN_MEMORY_BYTES
    return ImageTensors(images.contiguous() if in_memory else images, labels, mapped=not in_memory)


def _channel_axis(x: Named) -> int | None:
    """Return the axis of the channels: the one of size 1 or 3; None for images (n, h, w)."""
    shape = x.stored.shape
    axes = [axis for axis in (1, 3) if len(shape) == 4 and shape[axis] in CHANNELS]
    sides = [length for axis, length in enumerate(shape) if axis and axis not in axes]
    if len(sides) != 2:
        raise x.error(f"has shape {shape}; needed: (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels c")
    if not shape[0]:
        raise x.error(f"has shape {shape}: no images")
    if sides[0] != sides[1]:
        raise x.error(f"has images of {sides[0]} x {sides[1]} pixels: crop or resize them to squares")
    if not SMALLEST_SIDE <= sides[0] <= LARGEST_SIDE:
        raise x.error(f"has images of {sides[0]} pixels a side; allowed are {SMALLEST_SIDE} to {LARGEST_SIDE}")
    return axes[0] if axes else None


def _labels(y: Named, x: Named) -> Tensor:
    """Read labels (n,) as int64; also from (n, 1)."""
    shape, count = y.stored.shape, x.stored.shape[0]
    if shape not in ((count,), (count, 1)):
        hint = "; of one-hot labels save the argmax" if len(shape) == 2 and shape[0] == count else ""
        raise y.error(f"has shape {shape}; needed: ({count},), one label for each image of {x.name}{hint}")
    if y.stored.dtype.kind not in "biu":
        raise y.error(f"has dtype {y.stored.dtype.name}: save class numbers as integers, such as int64")
    labels = _read(y).reshape(-1)
    if (low := int(labels.min())) < 0:
        raise y.error(f"has the label {low}: classes are numbered from 0")
    # before the conversion, which would wrap larger ones
    if (high := int(labels.max())) > MAX_LABEL:
        raise y.error(f"has the label {high}: classes are numbered from 0 without gaps")
    return torch.from_numpy(labels.astype(np.int64))


def _pixels(x: Named) -> Tensor:
    """Read images as they are stored, uint8 or floats in [0, 1]; floats of 256 levels become uint8."""
    dtype = x.stored.dtype
    # at most 8 bytes: torch has no long double
    if dtype != np.uint8 and (dtype.kind != "f" or dtype.itemsize > 8):
        raise x.error(f"has dtype {dtype.name}; needed: uint8 from 0 to 255, or floats in [0, 1]")
    if x.stored.nbytes > IN_MEMORY_BYTES:
        if x.stored.map is None:
            raise x.error(
                f"has {format_bytes(x.stored.nbytes)} and is compressed or stored in chunks, so batches cannot be read "
                "from the file: save it with numpy.savez, or to .safetensors"
            )
        array = guarded(x.path, x.stored.map)
    else:
        array = _read(x)
    has_levels = dtype.kind == "f" and _check_floats(x, array)
    with warnings.catch_warnings():
        # torch warns that a mapped array cannot be written, and nothing here writes images
        warnings.simplefilter("ignore", UserWarning)
        if dtype.kind != "f" or isinstance(array, np.memmap):
            return torch.from_numpy(array)
        return torch.from_numpy(np.rint(array * 255).astype(np.uint8) if has_levels else array.astype(np.float32))


def _read(array: Named) -> NumpyArray:
    values: NumpyArray = guarded(array.path, array.stored.read)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _check_floats(x: Named, array: NumpyArray) -> bool:
    """Raise CorruptError for a value outside [0, 1]. Return whether all values are k / 255, with k from 0 to 255."""
    has_levels = True
    for first, chunk in _chunks(array):
        low, high = float(chunk.min()), float(chunk.max())
        # also false for NaN
        if not (low >= 0 and high <= 1):
            raise x.error(_outside(first, chunk))
        scaled = np.asarray(chunk, np.float32) * 255
        has_levels = has_levels and float(np.abs(scaled - np.rint(scaled)).max()) < LEVEL_ERROR
    return has_levels


def _outside(first: int, chunk: NumpyArray) -> str:
    """Explain which image of a chunk that begins with image `first` has a value that is no intensity."""
    flat = chunk.reshape(len(chunk), -1)
    if not np.isfinite(flat).all():
        return f"has NaN or infinite values, first in image {first + int(np.isfinite(flat).all(1).argmin())}"
    image = int(((flat < 0) | (flat > 1)).any(1).argmax())
    low, high = float(flat[image].min()), float(flat[image].max())
    hint = "divide by 255, or save as uint8" if low >= 0 and 2 < high <= 255 else "undo a normalisation, or clip"
    return f"has values outside [0, 1], from {low:.4g} to {high:.4g} in image {first + image}: {hint}"


def _chunks(array: NumpyArray) -> Iterator[tuple[int, NumpyArray]]:
    """Yield parts of at most about `CHUNK_BYTES`, each with the number of its first image."""
    rows = max(1, CHUNK_BYTES // max(1, array[0].nbytes))
    for first in range(0, len(array), rows):
        yield first, array[first : first + rows]


def count_classes(y: Named, labels: Tensor) -> int:
    """Return K if the labels are 0 to K - 1, each with an image. Error: CorruptError."""
    present = torch.unique(labels).tolist()
    if present[0] == 1 and present == list(range(1, len(present) + 1)):
        raise y.error("begins at 1: subtract 1, because classes are numbered from 0")
    if gaps := sorted(set(range(min(present[-1], len(present)))) - set(present)):
        listed = shorten_list([str(gap) for gap in gaps])
        raise y.error(f"has no image of {listed}, but labels up to {present[-1]}: number the classes without gaps")
    if len(present) < 2:
        raise y.error("has only one class")
    return len(present)


def check_range(y: Named, labels: Tensor, classes: int) -> None:
    """Raise CorruptError for a label that is not below the number of classes."""
    if (high := int(labels.max())) >= classes:
        raise y.error(f"has the label {high}, and the classes of the training images are 0 to {classes - 1}")
