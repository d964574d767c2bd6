"""Images and labels from a file of arrays: a data set (`arrays`), or more training images for any (`data.extra`)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from afdctl import paths
from afdctl.data.array_file import READERS, NumpyArray, open_arrays
from afdctl.data.array_images import Named, check_range, count_classes, read_images
from afdctl.data.base import Dataset, DatasetLoader, ImageTensors
from afdctl.errors import CorruptError, DataMissingError
from afdctl.formatting import format_count, shorten_list

# names of the arrays with generated images: those of a data set's file, or those of published files
EXTRA_NAMES: Final = (("x_train", "y_train"), ("image", "label"))


class Arrays(DatasetLoader):
    """`data.path`: one file with x_train, y_train, x_test and y_test; its classes are the numbers 0 to K - 1."""

    name = "arrays"
    info = None

    def find(self, roots: Sequence[Path]) -> str | None:
        return next((str(root) for root in roots if root.suffix.lower() in READERS and root.is_file()), None)

    def load(self, roots: Sequence[Path], *, image_size: int | None = None, channels: int | None = None) -> Dataset:
        if (location := self.find(roots)) is None:
            raise self.missing_error(roots)
        path = Path(location)
        arrays = open_arrays(path)
        train, test = (read_images(path, arrays, f"x_{split}", f"y_{split}") for split in ("train", "test"))
        classes = count_classes(Named(path, "y_train", arrays["y_train"]), train.y)
        check_range(Named(path, "y_test", arrays["y_test"]), test.y, classes)
        if train.x.shape[1:] != test.x.shape[1:]:
            raise CorruptError(f"{path}: images of x_train are {_size(train.x)}, those of x_test {_size(test.x)}")
        dataset = Dataset(name=self.name, train=train, test=test, classes=tuple(map(str, range(classes))))
        return replace(dataset, notes=tuple(_notes(path, dataset, train, "x_train")))

    def fetch(self, roots: Sequence[Path]) -> None:
        raise self.missing_error(roots)

    def missing_error(self, roots: Sequence[Path], reason: str = "there is nothing to download") -> DataMissingError:
        return _missing_file(roots[0], "data.path or --data-dir")


def find_extra(path: Path) -> Path:
    """Return the path of the file of `data.extra`, `~` expanded. Error: DataMissingError without the file."""
    path = paths.path(path)
    if path.suffix.lower() not in READERS or not path.is_file():
        raise _missing_file(path, "data.extra")
    return path


def load_extra(path: Path, dataset: Dataset) -> tuple[ImageTensors, tuple[str, ...]]:
    """Read more training images of a data set's classes, such as generated ones. Return them with warnings.

    Errors: DataMissingError without the file, CorruptError for images of another size or labels of other classes.
    """
    path = find_extra(path)
    arrays = open_arrays(path)
    x_name, y_name = next((names for names in EXTRA_NAMES if names[0] in arrays), EXTRA_NAMES[0])
    images = read_images(path, arrays, x_name, y_name)
    check_range(Named(path, y_name, arrays[y_name]), images.y, len(dataset.classes))
    if images.x.shape[1:] != dataset.train.x.shape[1:]:
        raise CorruptError(f"{path}: images are {_size(images.x)}, those of {dataset.name} {_size(dataset.train.x)}")
    return images, tuple(_notes(path, dataset, images, x_name))


def _notes(path: Path, dataset: Dataset, images: ImageTensors, x_name: str) -> Iterator[str]:
    """Yield warnings of training images that cannot be meant: nearly black ones, and images of the test split."""
    if images.mapped:
        return  # a pass over such a file takes minutes
    if images.x.dtype == torch.uint8 and int(images.x.max()) <= 1:
        yield f"{path}: {x_name} is uint8 with no value above 1: read as 1 of 255; save images of 0 and 1 as floats"
    seen = set(map(_fingerprint, images.x.numpy()))
    if shared := sum(_fingerprint(image) in seen for image in dataset.test.x.numpy()):
        yield f"{path}: {x_name} contains {format_count(shared, 'test image')} of {len(dataset.test):,}"


def _fingerprint(image: NumpyArray) -> bytes:
    return blake2b(image.data, digest_size=16).digest()


def _size(x: Tensor) -> str:
    return " x ".join(map(str, x.shape[1:]))


def _missing_file(path: Path, key: str) -> DataMissingError:
    kinds = ", ".join(READERS)
    reason = f"not a file of arrays ({kinds}); name one" if path.exists() else "no such file; name a file of arrays"
    files = sorted(file.name for file in path.iterdir() if file.suffix in READERS) if path.is_dir() else []
    found = f" ({shorten_list(files)})" if files else ""
    return DataMissingError(f"{path}: {reason} with {key}{found}")
