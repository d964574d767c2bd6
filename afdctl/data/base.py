"""The interface of a data set loader, the data it returns, and the folders it searches."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import format_exception_only
from typing import ClassVar

import torch
from torch import Tensor

from afdctl import paths
from afdctl.errors import NO_SPACE, DataMissingError, DiskFullError, option

# images that are digested at once
DIGEST_ROWS = 4096


@dataclass(frozen=True, eq=False)
class ImageTensors:
    """Labelled images on the CPU: x uint8, or floats in [0, 1], (n, c, h, w), y int64 (n,).

    `mapped`: x is in a file, from which each batch is read.
    """

    x: Tensor
    y: Tensor
    mapped: bool = False

    def __len__(self) -> int:
        return len(self.y)

    def select(self, index: Tensor) -> "ImageTensors":
        """Return a copy in memory of the images with these numbers (n,), in this order."""
        return ImageTensors(self.x[index].contiguous(), self.y[index])

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex, see `digest_of`."""
        return digest_of(self.x, self.y)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Both splits of a data set on the CPU; `notes` are warnings from reading it.

    `extra` are more images to train on (`data.extra`), which are no part of the data set or its digest.
    """

    name: str
    train: ImageTensors
    test: ImageTensors
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    extra: ImageTensors | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex of images and labels of both splits, see `digest_of`."""
        return digest_of(self.train.x, self.train.y, self.test.x, self.test.y)


def digest_of(*tensors: Tensor) -> str:
    """Return the SHA-256 in hex over the shapes and bytes of tensors on the CPU."""
    sha256 = hashlib.sha256()
    for tensor in tensors:
        # the same bytes in another shape are other images
        sha256.update(repr(tuple(tensor.shape)).encode())
        # in parts, because a mapped tensor may be larger than the memory
        for part in torch.split(tensor, DIGEST_ROWS):
            sha256.update(part.contiguous().numpy().data.cast("B"))
    return sha256.hexdigest()


@dataclass(frozen=True)
class DownloadFile:
    """A published file: path below the data folder, MD5, URL, and size in bytes."""

    path: str
    md5: str
    url: str
    size: int


@dataclass(frozen=True)
class DatasetInfo:
    """Published size of a data set: images per split, classes, and image shape (c, h, w)."""

    train: int
    test: int
    classes: int
    shape: tuple[int, int, int]


class DatasetLoader(ABC):
    """Finds, downloads and reads one data set.

    `info` is None where the size depends on the user's files. `accepts` describes other layouts that `find` takes, for
    messages. `resizes`: `load` needs an image size. `md5_label` says what the MD5 of a file is computed from.
    """

    name: ClassVar[str]
    info: ClassVar[DatasetInfo | None] = None
    files: ClassVar[tuple[DownloadFile, ...]] = ()
    accepts: ClassVar[str] = ""
    resizes: ClassVar[bool] = False
    md5_label: ClassVar[str] = "md5"

    def find(self, roots: Sequence[Path]) -> str | None:
        """Return where the data set is, as text; None if it is missing. By default it needs no files."""
        return "made by its code"

    @abstractmethod
    def load(self, roots: Sequence[Path], *, image_size: int | None = None, channels: int | None = None) -> Dataset:
        """Read both splits. A user's data set also takes the keys of its `Config`.

        Errors: CorruptError names a damaged file, DataMissingError what is missing.
        """

    def fetch(self, roots: Sequence[Path]) -> None:
        """Download into the first writable root. Error: DataMissingError if that fails."""
        with staging(roots) as (root, folder):
            try:
                self.download(folder)
            # torchvision raises RuntimeError for a wrong MD5
            except (OSError, HTTPException, RuntimeError) as error:
                if getattr(error, "errno", None) in NO_SPACE:
                    raise
                reason = format_exception_only(error)[-1].rstrip().splitlines()[-1]
                raise self.missing_error(roots, f"downloading it failed ({reason})") from error
            for file in self.files:
                move(folder / file.path, root / file.path)

    def download(self, folder: Path) -> None:
        """Download the files into an empty folder and check their MD5."""
        # imported here, because only a download needs torchvision
        from torchvision.datasets.utils import download_url

        for file in self.files:
            download_url(file.url, folder, file.path, file.md5)

    def missing_files(self, roots: Sequence[Path]) -> Sequence[DownloadFile]:
        """Return the files for which the roots hold neither the file nor an accepted substitute."""
        return self.files

    def missing_error(self, roots: Sequence[Path], reason: str = "it was not downloaded") -> DataMissingError:
        """Make the error that explains how to install the data set by hand."""
        files = "\n".join(
            f"  {file.path}  {file.size:,} bytes  {self.md5_label} {file.md5}  {file.url}"
            for file in self.missing_files(roots)
        )
        return DataMissingError(
            f"{self.name} is not on this machine, and {reason}. Missing:\n{files}\n"
            f"Put them into {' or '.join(map(str, roots))}, or name the folder that holds them with "
            f"{option('data-dir')} or AFDCTL_DATA. Also accepted: {self.accepts}."
        )


def cache_dir() -> Path:
    """Return the user's cache folder for data sets."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "afdctl" / "data"


def search_path(
    data_dir: Path | None = None, *, path: Path | None = None, recorded: Path | None = None
) -> tuple[Path, ...]:
    """Return the folders to search, in order; the cache is last, for downloads when the others are read-only.

    `data_dir` is --data-dir, `path` the recipe's `data.path`, `recorded` the data folder in a run's provenance; for
    `arrays` it is a file. A new training searches one folder and the cache. A resumed run searches all of them, as its
    digest detects other images.
    """
    default = Path(os.environ.get("AFDCTL_DATA") or cache_dir())
    if data_dir is not None:
        first = [data_dir]
    elif recorded is not None:
        first = [*(folder for folder in (recorded, path) if folder and os.path.exists(folder)), default]
    else:
        first = [path or default]
    return tuple(dict.fromkeys(paths.path(folder) for folder in (*first, cache_dir())))


@contextmanager
def staging(roots: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield the first writable root and a temporary folder on the same disk, so that files move in by a rename.

    Folders made for it that stay empty, as after a failed download, are removed.
    """
    for root in roots:
        with suppress(OSError), ExitStack() as attempt:
            attempt.callback(remove_empty, [folder for folder in (root, *root.parents) if not folder.exists()])
            root.mkdir(parents=True, exist_ok=True)
            # hidden, so that no loader finds an unfinished download
            name = attempt.enter_context(TemporaryDirectory(prefix=".fetch-", dir=root))
            opened = attempt.pop_all()
            break
    else:
        folders = " or ".join(map(str, roots))
        raise DataMissingError(f"cannot write to {folders}: name another folder with {option('data-dir')}")
    try:
        with opened:
            yield root, Path(name)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise DiskFullError(f"disk full while writing to {root}: free some space") from error
        raise


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those folders that are empty, the deepest first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def move(source: Path, target: Path) -> None:
    """Rename a finished file or folder to its target; a folder that another process put there first stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(source, target)
    except OSError:
        # a folder with files cannot be replaced, and need not be: the other process's copy passed the same check
        if not target.is_dir():
            raise
