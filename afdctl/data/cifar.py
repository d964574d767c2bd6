"""CIFAR-10 and CIFAR-100: the published archives, packed or extracted, read by torchvision."""

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from afdctl.data.base import Dataset, DatasetInfo, DatasetLoader, DownloadFile, ImageTensors, cache_dir, move, staging
from afdctl.errors import CorruptError


class CIFAR10(DatasetLoader):
    """Colour photographs of 32 x 32 pixels (Krizhevsky 2009)."""

    name = "cifar10"
    info = DatasetInfo(train=50_000, test=10_000, classes=10, shape=(3, 32, 32))
    accepts = "the extracted folder cifar-10-batches-py"
    folder: ClassVar[str] = "cifar-10-batches-py"
    files = (
        DownloadFile(
            path="cifar-10-python.tar.gz",
            md5="c58f30108f718f92721af3b95e74349a",
            url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            size=170_498_071,
        ),
    )

    def find(self, roots: Sequence[Path]) -> str | None:
        # extracted folders first, because an archive would be unpacked again
        extracted = (root / self.folder for root in roots if (root / self.folder).is_dir())
        archives = (root / self.files[0].path for root in roots if (root / self.files[0].path).is_file())
        return next(map(str, (*extracted, *archives)), None)

    def load(self, roots: Sequence[Path], *, image_size: int | None = None, channels: int | None = None) -> Dataset:
        root = self._extracted_root(roots)
        try:
            train, test = (self._torchvision_class(root, train=train) for train in (True, False))
        except RuntimeError as error:
            raise CorruptError(self._damage(root)) from error
        return Dataset(name=self.name, train=_images(train), test=_images(test), classes=tuple(train.classes))

    @property
    def _torchvision_class(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, type(self).__name__)

    def _extracted_root(self, roots: Sequence[Path]) -> Path:
        """Return the root that holds the extracted folder; extract the archive into the cache if necessary."""
        from torchvision.datasets.utils import check_md5

        location = self.find(roots)
        if location is None:
            raise self.missing_error(roots)
        if Path(location).is_dir():
            return Path(location).parent
        if not check_md5(location, self.files[0].md5):
            raise CorruptError(f"{location}: its md5 is not {self.name}'s {self.files[0].md5}: replace it")
        # a data folder is never written to, even if it is writable
        with staging([cache_dir()]) as (cache, folder), tarfile.open(location) as archive:
            # refuses members that would be written outside the folder; Python before 3.11.4 has no filters
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(folder)
            move(folder / self.folder, cache / self.folder)
        return cache

    def _damage(self, root: Path) -> str:
        """Describe which of the extracted files fail torchvision's check."""
        from torchvision.datasets.utils import check_integrity

        dataset = self._torchvision_class
        expected = [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])]
        broken = [
            f"{name} (md5 {md5})" for name, md5 in expected if not check_integrity(root / self.folder / name, md5)
        ]
        return f"{root / self.folder}: missing or altered: {', '.join(broken)}: delete the folder or replace them"


class CIFAR100(CIFAR10):
    """CIFAR-10's companion with 100 fine classes."""

    name = "cifar100"
    info = DatasetInfo(train=50_000, test=10_000, classes=100, shape=(3, 32, 32))
    accepts = "the extracted folder cifar-100-python"
    folder = "cifar-100-python"
    files = (
        DownloadFile(
            path="cifar-100-python.tar.gz",
            md5="eb9058c3a382ffc7106e4002c42a8d85",
            url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            size=169_001_437,
        ),
    )


def _images(split: Any) -> ImageTensors:
    """Convert a torchvision split (n, h, w, c) to (n, c, h, w)."""
    return ImageTensors(torch.from_numpy(split.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(split.targets))
