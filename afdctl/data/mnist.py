"""MNIST and Fashion-MNIST: four idx files each, packed or not, known by the md5 of their unpacked content."""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from hashlib import md5
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import torch

from afdctl import paths
from afdctl.data.base import Dataset, DatasetInfo, DatasetLoader, DownloadFile, ImageTensors
from afdctl.errors import CorruptError
from afdctl.recipe.schema import Data

# the md5 of both data sets' smallest file tells whose files lie in a folder, for their names are the same
LABELS_MD5 = {"mnist": "27ae3e4e09519cfbb04c329615203637", "fashion_mnist": "15d484375f8d13e6eb1aabb0c3f46965"}

FILE_BYTES = 1 << 26
"""Room for the largest of the files, 47,040,016 bytes unpacked."""


def _variants(folder: Path, name: str) -> Iterator[Path]:
    return filter(Path.is_file, (folder / name, folder / name.removesuffix(".gz")))


def _content(path: Path) -> bytes:
    """The unpacked bytes of a file."""
    try:
        content = paths.read(path, FILE_BYTES)
        if path.suffix != ".gz":
            return content
        with gzip.open(BytesIO(content)) as packed:
            # one byte more than can be right is enough for a wrong md5
            return packed.read(FILE_BYTES + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise CorruptError(f"{path}: cannot be unpacked ({error}): replace it") from error


def _digest(content: bytes) -> str:
    return md5(content, usedforsecurity=False).hexdigest()


class MNIST(DatasetLoader):
    """Handwritten digits (LeCun, Cortes, Burges)."""

    name = "mnist"
    about = DatasetInfo(60_000, 10_000, 10, (1, 28, 28))
    accepts = "the files unpacked or packed again (the md5s are of the unpacked content), and directly in the folder"
    md5_of = "unpacked md5"
    folders: ClassVar[tuple[str, ...]] = ("MNIST/raw", ".")
    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")
    files = tuple(
        DownloadFile(f"MNIST/raw/{name}.gz", digest, f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}.gz", size)
        for name, digest, size in (
            ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb", 9_912_422),
            ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", 28_881),
            ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea", 1_648_877),
            ("t10k-labels-idx1-ubyte", LABELS_MD5["mnist"], 4_542),
        )
    )

    def find(self, roots: Sequence[Path]) -> str | None:
        images = self._locate(self.files[0], roots)
        return str(images.parent) if images and not self.absent(roots) else None

    def absent(self, roots: Sequence[Path]) -> Sequence[DownloadFile]:
        return [file for file in self.files if self._locate(file, roots) is None]

    def load(self, data: Data, roots: Sequence[Path]) -> Dataset:
        train_x, train_y, test_x, test_y = (self._read(file, roots) for file in self.files)
        return Dataset(self.name, self._images(train_x, train_y), self._images(test_x, test_y), self.classes)

    def download(self, folder: Path) -> None:
        # torchvision knows the mirrors and the md5s of the packed files
        from torchvision import datasets

        getattr(datasets, type(self).__name__)(folder, download=True)

    def _locate(self, file: DownloadFile, roots: Sequence[Path]) -> Path | None:
        folders = (root / folder for root in roots for folder in self.folders)
        found = (
            path for folder in folders if not self._foreign(folder) for path in _variants(folder, Path(file.path).name)
        )
        return next(found, None)

    def _foreign(self, folder: Path) -> bool:
        """Whether the folder holds the other data set."""
        try:
            labels = [_digest(_content(path)) for path in _variants(folder, "t10k-labels-idx1-ubyte.gz")]
        except CorruptError:
            return False
        return any(labels[0] == digest for name, digest in LABELS_MD5.items() if name != self.name) if labels else False

    def _read(self, file: DownloadFile, roots: Sequence[Path]) -> bytes:
        path = self._locate(file, roots)
        if path is None:
            raise self.missing(roots)
        content = _content(path)
        if (digest := _digest(content)) != file.md5:
            raise CorruptError(f"{path}: its unpacked md5 is {digest}, not {self.name}'s {file.md5}: replace it")
        return content

    @staticmethod
    def _images(x: bytes, y: bytes) -> ImageTensors:
        # the md5 was right, so the idx headers (16 and 8 bytes) are as published
        images = torch.frombuffer(bytearray(x), dtype=torch.uint8, offset=16).view(-1, 1, 28, 28)
        return ImageTensors(images, torch.frombuffer(bytearray(y), dtype=torch.uint8, offset=8).long())


class FashionMNIST(MNIST):
    """Pictures of clothes (Xiao, Rasul, Vollgraf 2017)."""

    name = "fashion_mnist"
    folders = ("FashionMNIST/raw", "fashion-mnist", ".")
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    files = tuple(
        DownloadFile(
            f"FashionMNIST/raw/{name}.gz",
            digest,
            f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{name}.gz",
            size,
        )
        for name, digest, size in (
            ("train-images-idx3-ubyte", "f4a8712d7a061bf5bd6d2ca38dc4d50a", 26_421_880),
            ("train-labels-idx1-ubyte", "9018921c3c673c538a1fc5bad174d6f9", 29_515),
            ("t10k-images-idx3-ubyte", "8181f5470baa50b63fa0f6fddb340f0a", 4_422_102),
            ("t10k-labels-idx1-ubyte", LABELS_MD5["fashion_mnist"], 5_148),
        )
    )
