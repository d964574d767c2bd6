"""MNIST and Fashion-MNIST: four idx files, gzipped or not, identified by the MD5 of their unpacked content."""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from hashlib import md5
from io import BytesIO
from pathlib import Path
from typing import ClassVar, Final

import torch

from afdctl import paths
from afdctl.data.base import Dataset, DatasetInfo, DatasetLoader, DownloadFile, ImageTensors
from afdctl.errors import CorruptError

# Both data sets use the same file names, so the MD5 of the smallest file decides which one a folder holds.
TEST_LABELS: Final = "t10k-labels-idx1-ubyte"
TEST_LABELS_MD5: Final = {
    "mnist": "27ae3e4e09519cfbb04c329615203637",
    "fashion_mnist": "15d484375f8d13e6eb1aabb0c3f46965",
}
# The largest of the files has 47,040,016 bytes unpacked; reading stops here for anything larger.
MAX_FILE_BYTES: Final = 1 << 26
# Bytes of an idx header: a magic number and the sizes of the dimensions.
IMAGE_HEADER: Final = 16
LABEL_HEADER: Final = 8


class MNIST(DatasetLoader):
    """Handwritten digits (LeCun, Cortes, Burges)."""

    name = "mnist"
    info = DatasetInfo(train=60_000, test=10_000, classes=10, shape=(1, 28, 28))
    accepts = "the files unpacked or gzipped again (the md5s are of the unpacked content), also directly in the folder"
    md5_label = "unpacked md5"
    folders: ClassVar[tuple[str, ...]] = ("MNIST/raw", ".")
    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")
    files = tuple(
        DownloadFile(
            path=f"MNIST/raw/{name}.gz",
            md5=digest,
            url=f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}.gz",
            size=size,
        )
        for name, digest, size in (
            ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb", 9_912_422),
            ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", 28_881),
            ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea", 1_648_877),
            (TEST_LABELS, TEST_LABELS_MD5["mnist"], 4_542),
        )
    )

    def find(self, roots: Sequence[Path]) -> str | None:
        images = self._locate(self.files[0], roots)
        return str(images.parent) if images and not self.missing_files(roots) else None

    def missing_files(self, roots: Sequence[Path]) -> Sequence[DownloadFile]:
        return [file for file in self.files if self._locate(file, roots) is None]

    def load(self, roots: Sequence[Path], *, image_size: int | None = None, channels: int | None = None) -> Dataset:
        train_x, train_y, test_x, test_y = (self._read(file, roots) for file in self.files)
        return Dataset(
            name=self.name, train=_images(train_x, train_y), test=_images(test_x, test_y), classes=self.classes
        )

    def download(self, folder: Path) -> None:
        # torchvision knows the mirrors and the MD5 of the gzipped files
        from torchvision import datasets

        getattr(datasets, type(self).__name__)(folder, download=True)

    def _locate(self, file: DownloadFile, roots: Sequence[Path]) -> Path | None:
        """Return the first copy of a file, gzipped or not."""
        folders = (root / folder for root in roots for folder in self.folders)
        copies = (
            path
            for folder in folders
            if not self._holds_other_dataset(folder)
            for path in _copies(folder, Path(file.path).name)
        )
        return next(copies, None)

    def _holds_other_dataset(self, folder: Path) -> bool:
        try:
            digests = [_md5(_unpack(path)) for path in _copies(folder, f"{TEST_LABELS}.gz")]
        # the read that needs the file reports the damage
        except CorruptError:
            return False
        others = {digest for name, digest in TEST_LABELS_MD5.items() if name != self.name}
        return bool(digests) and digests[0] in others

    def _read(self, file: DownloadFile, roots: Sequence[Path]) -> bytes:
        path = self._locate(file, roots)
        if path is None:
            raise self.missing_error(roots)
        content = _unpack(path)
        if (digest := _md5(content)) != file.md5:
            raise CorruptError(f"{path}: its unpacked md5 is {digest}, not {self.name}'s {file.md5}: replace it")
        return content


class FashionMNIST(MNIST):
    """Images of clothes (Xiao, Rasul, Vollgraf 2017)."""

    name = "fashion_mnist"
    folders = ("FashionMNIST/raw", "fashion-mnist", ".")
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    files = tuple(
        DownloadFile(
            path=f"FashionMNIST/raw/{name}.gz",
            md5=digest,
            url=f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{name}.gz",
            size=size,
        )
        for name, digest, size in (
            ("train-images-idx3-ubyte", "f4a8712d7a061bf5bd6d2ca38dc4d50a", 26_421_880),
            ("train-labels-idx1-ubyte", "9018921c3c673c538a1fc5bad174d6f9", 29_515),
            ("t10k-images-idx3-ubyte", "8181f5470baa50b63fa0f6fddb340f0a", 4_422_102),
            (TEST_LABELS, TEST_LABELS_MD5["fashion_mnist"], 5_148),
        )
    )


def _copies(folder: Path, name: str) -> Iterator[Path]:
    """Yield the gzipped file and the unpacked one, where they exist."""
    return filter(Path.is_file, (folder / name, folder / name.removesuffix(".gz")))


def _unpack(path: Path) -> bytes:
    """Return the content of a file, unpacked if it is gzipped."""
    try:
        content = paths.read(path, MAX_FILE_BYTES)
        if path.suffix != ".gz":
            return content
        with gzip.open(BytesIO(content)) as file:
            # one byte beyond the limit is enough to make the MD5 wrong
            return file.read(MAX_FILE_BYTES + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise CorruptError(f"{path}: cannot be unpacked ({error}): replace it") from error


def _md5(content: bytes) -> str:
    return md5(content, usedforsecurity=False).hexdigest()


def _images(x: bytes, y: bytes) -> ImageTensors:
    """Convert the content of two idx files whose MD5, and with it the header, is as published."""
    # copies, because torch warns of a buffer that it cannot write to
    images = torch.frombuffer(bytearray(x), dtype=torch.uint8, offset=IMAGE_HEADER).view(-1, 1, 28, 28)
    return ImageTensors(images, torch.frombuffer(bytearray(y), dtype=torch.uint8, offset=LABEL_HEADER).long())
