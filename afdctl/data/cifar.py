"""CIFAR-10 and CIFAR-100: the archives of their site, packed or extracted, read by torchvision."""

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from afdctl.data.base import Dataset, DatasetInfo, DatasetLoader, DownloadFile, ImageTensors, cache_dir, move, staging
from afdctl.errors import CorruptError
from afdctl.recipe.schema import Data


def _images(split: Any) -> ImageTensors:
    """A split of torchvision's, (n, h, w, c), as (n, c, h, w)."""
    return ImageTensors(torch.from_numpy(split.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(split.targets))


class CIFAR10(DatasetLoader):
    """Tiny colour photographs (Krizhevsky 2009)."""

    name = "cifar10"
    about = DatasetInfo(50_000, 10_000, 10, (3, 32, 32))
    accepts = "the extracted folder cifar-10-batches-py"
    folder: ClassVar[str] = "cifar-10-batches-py"
    files = (
        DownloadFile(
            "cifar-10-python.tar.gz",
            "c58f30108f718f92721af3b95e74349a",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            170_498_071,
        ),
    )

    def find(self, roots: Sequence[Path]) -> str | None:
        extracted = (root / self.folder for root in roots if (root / self.folder).is_dir())
        packed = (root / self.files[0].path for root in roots if (root / self.files[0].path).is_file())
        return next(map(str, (*extracted, *packed)), None)

    def load(self, data: Data, roots: Sequence[Path]) -> Dataset:
        root = self._extracted(roots)
        try:
            train, test = (self._upstream(root, train=train) for train in (True, False))
        except RuntimeError as error:
            raise CorruptError(self._damage(root)) from error
        return Dataset(self.name, _images(train), _images(test), tuple(train.classes))

    @property
    def _upstream(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, type(self).__name__)

    def _extracted(self, roots: Sequence[Path]) -> Path:
        """The root that holds the extracted folder: one of `roots`, or the cache after extracting the archive there."""
        from torchvision.datasets.utils import check_md5

        found = self.find(roots)
        if found is None:
            raise self.missing(roots)
        if Path(found).is_dir():
            return Path(found).parent
        if not check_md5(found, self.files[0].md5):
            raise CorruptError(f"{found}: its md5 is not {self.name}'s {self.files[0].md5}: replace it")
        # a data folder is only read, even where it could be written
        with staging([cache_dir()]) as (cache, folder), tarfile.open(found) as archive:
            archive.extractall(folder, filter="data")
            move(folder / self.folder, cache / self.folder)
        return cache

    def _damage(self, root: Path) -> str:
        """Which of the extracted files torchvision refused."""
        from torchvision.datasets.utils import check_integrity

        upstream = self._upstream
        known = [*upstream.train_list, *upstream.test_list, (upstream.meta["filename"], upstream.meta["md5"])]
        broken = (f"{name} (md5 {md5})" for name, md5 in known if not check_integrity(root / self.folder / name, md5))
        return f"{root / self.folder}: missing or altered: {', '.join(broken)}: delete the folder or replace them"


class CIFAR100(CIFAR10):
    """The same with 100 fine classes."""

    name = "cifar100"
    about = DatasetInfo(50_000, 10_000, 100, (3, 32, 32))
    accepts = "the extracted folder cifar-100-python"
    folder = "cifar-100-python"
    files = (
        DownloadFile(
            "cifar-100-python.tar.gz",
            "eb9058c3a382ffc7106e4002c42a8d85",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            169_001_437,
        ),
    )
