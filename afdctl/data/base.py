"""The contract of a data set, and what it yields."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import format_exception_only
from typing import ClassVar

from torch import Tensor

from afdctl import paths
from afdctl.errors import NO_SPACE, DataMissingError, DiskFullError
from afdctl.recipe.schema import Data


@dataclass(frozen=True, eq=False)
class ImageTensors:
    """Labelled images on the CPU: x uint8 (n, c, h, w), y int64 (n,)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory, on the CPU; `notes` are what a user should know of how it was read."""

    name: str
    train: ImageTensors
    test: ImageTensors
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """sha256 in hex over the shapes and bytes of the images and labels of both splits."""
        sha256 = hashlib.sha256()
        for tensor in (self.train.x, self.train.y, self.test.x, self.test.y):
            sha256.update(repr(tuple(tensor.shape)).encode())
            sha256.update(tensor.contiguous().numpy().data.cast("B"))
        return sha256.hexdigest()


@dataclass(frozen=True)
class DownloadFile:
    """A published file: its place in the data folder, its md5, where it comes from, its size in bytes."""

    path: str
    md5: str
    url: str
    size: int


@dataclass(frozen=True)
class DatasetInfo:
    """The published size of a data set: images in both splits, classes, and an image's (c, h, w)."""

    train: int
    test: int
    classes: int
    shape: tuple[int, int, int]


class DatasetLoader(ABC):
    """One data set: where it may lie, how it is read, and where it is downloaded from."""

    name: ClassVar[str]
    about: ClassVar[DatasetInfo | None]
    files: ClassVar[tuple[DownloadFile, ...]] = ()
    accepts: ClassVar[str] = ""
    any_size: ClassVar[bool] = False
    md5_of: ClassVar[str] = "md5"

    @abstractmethod
    def find(self, roots: Sequence[Path]) -> str | None:
        """Where the data set was found, in words; None where it is missing."""

    @abstractmethod
    def load(self, data: Data, roots: Sequence[Path]) -> Dataset:
        """Read both splits; CorruptError names a damaged file, DataMissingError what is missing."""

    def fetch(self, roots: Sequence[Path]) -> None:
        """Download into the first root that can be written; DataMissingError where that fails."""
        with staging(roots) as (root, folder):
            try:
                self.download(folder)
            except (OSError, HTTPException, RuntimeError) as error:
                if getattr(error, "errno", None) in NO_SPACE:
                    raise
                reason = format_exception_only(error)[-1].rstrip().splitlines()[-1]
                raise self.missing(roots, f"downloading it failed ({reason})") from error
            for file in self.files:
                move(folder / file.path, root / file.path)

    def download(self, folder: Path) -> None:
        """Download the files into an empty folder, checking their md5s."""
        from torchvision.datasets.utils import download_url

        for file in self.files:
            download_url(file.url, folder, file.path, file.md5)

    def absent(self, roots: Sequence[Path]) -> Sequence[DownloadFile]:
        """The files that are not there, nor anything else that is accepted for them."""
        return self.files

    def missing(self, roots: Sequence[Path], reason: str = "it was not downloaded") -> DataMissingError:
        """The error that tells how to get the data set here by hand."""
        files = "\n".join(
            f"  {file.path}  {file.size:,} bytes  {self.md5_of} {file.md5}  {file.url}" for file in self.absent(roots)
        )
        return DataMissingError(
            f"{self.name} is not on this machine, and {reason}. Missing:\n{files}\n"
            f"Put them into {' or '.join(map(str, roots))}, or name the folder that holds them with --data-dir or "
            f"AFDCTL_DATA. Accepted too: {self.accepts}."
        )


def cache_dir() -> Path:
    """The user's own folder for data sets."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "afdctl" / "data"


def search_path(option: Path | None = None, *, named: Path | None = None, own: Path | None = None) -> tuple[Path, ...]:
    """The folders to look into, the best first; the cache comes last, where downloads for a read-only folder go.

    `option` is --data-dir, `named` the recipe's `data.path`, `own` where a run's data were. A run looks into its own
    folder, then into the others, as its digest tells other images; a new training looks into one place only.
    """
    usual = Path(os.environ.get("AFDCTL_DATA") or cache_dir())
    if option is not None:
        first = [option]
    elif own is not None:
        first = [*(folder for folder in (own, named) if folder and os.path.isdir(folder)), usual]
    else:
        first = [named or usual]
    return tuple(dict.fromkeys(paths.path(folder) for folder in (*first, cache_dir())))


@contextmanager
def staging(roots: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """The first root that can be written, and a temporary folder in it: what is finished needs only a rename."""
    for root in roots:
        with suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            folder = TemporaryDirectory(prefix=".fetch-", dir=root)
            break
    else:
        raise DataMissingError(f"cannot write to {' or '.join(map(str, roots))}: name another folder with --data-dir")
    try:
        with folder as name:
            yield root, Path(name)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise DiskFullError(f"disk full while writing to {root}: free some space") from error
        raise


def move(source: Path, target: Path) -> None:
    """Put a finished file or folder in place; where another process was faster, its copy stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(source, target)
    except OSError:
        if not target.is_dir():
            raise
