"""The contract of a data set, and what it yields."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from traceback import format_exception_only
from typing import ClassVar

from torch import Tensor

from afdctl.data.places import move, staging
from afdctl.errors import NO_SPACE, DataMissingError
from afdctl.recipe.schema import Data


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images on the CPU: x uint8 (n, c, h, w), y int64 (n,)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Source:
    """A data set in memory, on the CPU; `notes` are what a user should know of how it was read."""

    name: str
    train: Images
    test: Images
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
class File:
    """A published file: its place in the data folder, its md5, where it comes from, its size in bytes."""

    path: str
    md5: str
    url: str
    size: int


@dataclass(frozen=True)
class About:
    """The published size of a data set: images in both splits, classes, and an image's (c, h, w)."""

    train: int
    test: int
    classes: int
    shape: tuple[int, int, int]


class DataSet(ABC):
    """One data set: where it may lie, how it is read, and where it is downloaded from."""

    name: ClassVar[str]
    about: ClassVar[About | None]
    files: ClassVar[tuple[File, ...]] = ()
    accepts: ClassVar[str] = ""
    any_size: ClassVar[bool] = False
    md5_of: ClassVar[str] = "md5"

    @abstractmethod
    def find(self, roots: Sequence[Path]) -> str | None:
        """Where the data set was found, in words; None where it is missing."""

    @abstractmethod
    def load(self, data: Data, roots: Sequence[Path]) -> Source:
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

    def absent(self, roots: Sequence[Path]) -> Sequence[File]:
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
