"""Tiny-ImageNet from its official archive, or from any zip or folder in that layout (a subset of the classes, say)."""

import errno
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile, is_zipfile

from afdctl import paths
from afdctl.data.base import Dataset, DatasetInfo, DatasetLoader, DownloadFile
from afdctl.data.image_files import FILE_BYTES, ImageFile, Remark, count_remarks, decode
from afdctl.errors import CorruptError
from afdctl.recipe.schema import Data

CLASSES = "wnids.txt"
IMAGES = re.compile(r"train/[^/]+/images/[^/]+")
SUFFIX = ".JPEG"
OTHER = f"training files passed over, as their names do not end in {SUFFIX}"
UNNAMED = f"training images passed over, as {CLASSES} does not name their class"
OFFICIAL = "tiny-imagenet-200"


class Tree(NamedTuple):
    """A folder or a zip: where it lies, the names of its training images, and how the file of a name is read."""

    where: Path
    names: list[str]
    read: Callable[[str], bytes]

    def lines(self, name: str) -> list[str]:
        try:
            return self.read(name).decode().splitlines()
        except (OSError, RuntimeError, BadZipFile, UnicodeDecodeError) as error:
            raise CorruptError(f"{self.where}: {name} is missing or broken: replace the data set") from error

    def picture(self, name: str, label: int) -> ImageFile:
        return ImageFile(label, f"{self.where}/{name}", partial(self.read, name))


@contextmanager
def _opened(path: Path) -> Iterator[Tree]:
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.glob("train/*/images/*"))
        yield Tree(path, names, lambda name: paths.read(path / name, FILE_BYTES))
        return
    try:
        # given an open file: a ZipFile that opened its own counts its readers without a lock, and we read in threads
        with path.open("rb") as file, ZipFile(file) as archive:
            top = next((name.removesuffix(CLASSES) for name in archive.namelist() if name.endswith(CLASSES)), "")
            names = sorted(name.removeprefix(top) for name in archive.namelist() if name.startswith(f"{top}train/"))
            yield Tree(path, list(filter(IMAGES.fullmatch, names)), lambda name: _member(archive, top + name))
    except BadZipFile as error:
        raise CorruptError(f"{path}: not a whole zip archive: replace it") from error


def _member(archive: ZipFile, name: str) -> bytes:
    """The content of a file in a zip, unpacked; OSError for one that is too large."""
    try:
        size = archive.getinfo(name).file_size
    except KeyError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
    if size > FILE_BYTES:
        raise OSError(errno.EFBIG, f"has {size:,} bytes; the limit is {FILE_BYTES:,}", name)
    return archive.read(name)


def _holds_layout(path: Path) -> bool:
    if path.is_dir():
        return (path / CLASSES).is_file()
    if path.suffix != ".zip" or not path.is_file():
        return False
    if path.name.startswith("tiny-imagenet"):
        return True  # whatever is in it, so that a truncated archive is named and not overlooked
    return is_zipfile(path) and any(name.endswith(CLASSES) for name in ZipFile(path).namelist())


def _places(root: Path) -> Iterator[Path]:
    """Where the layout may lie in a root, the official names first."""
    yield from (root / OFFICIAL, root / f"{OFFICIAL}.zip", root)
    if root.is_dir():
        yield from sorted(root.iterdir())


def _wnids(tree: Tree) -> list[str]:
    wnids = [line.strip() for line in tree.lines(CLASSES) if line.strip()]
    if len(wnids) < 2 or len(set(wnids)) < len(wnids):
        raise CorruptError(f"{tree.where}: {CLASSES} must name two or more classes, each once: replace the data set")
    return wnids


def _passed_over(tree: Tree, wnids: list[str]) -> Iterator[Remark]:
    for name in tree.names:
        if not name.endswith(SUFFIX):
            yield Remark(OTHER, f"{tree.where}/{name}")
        elif name.split("/")[1] not in wnids:
            yield Remark(UNNAMED, f"{tree.where}/{name}")


def _train(tree: Tree, wnids: list[str]) -> list[ImageFile]:
    names = defaultdict(list)
    for name in tree.names:
        if name.endswith(SUFFIX):
            names[name.split("/")[1]].append(name)
    if empty := [wnid for wnid in wnids if not names[wnid]]:
        raise CorruptError(f"{tree.where}: no training images of {', '.join(empty)}: replace the data set")
    return [tree.picture(name, label) for label, wnid in enumerate(wnids) for name in names[wnid]]


def _val(tree: Tree, wnids: list[str]) -> list[ImageFile]:
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    rows = [line.split("\t") for line in tree.lines("val/val_annotations.txt")]
    try:
        pictures = [tree.picture(f"val/images/{row[0]}", labels[row[1]]) for row in rows]
    except (IndexError, KeyError) as error:
        raise CorruptError(f"{tree.where}: val_annotations.txt does not fit {CLASSES}: replace the data set") from error
    if empty := sorted(set(labels) - {row[1] for row in rows}):
        raise CorruptError(f"{tree.where}: no validation images of {', '.join(empty)}: replace the data set")
    return pictures


class TinyImageNet(DatasetLoader):
    """200 classes of ImageNet at 64 x 64 (Stanford CS231n); the published validation images are the test split."""

    name = "tiny_imagenet"
    about = DatasetInfo(100_000, 10_000, 200, (3, 64, 64))
    any_size = True
    accepts = f"a folder or another .zip in the layout of {OFFICIAL}.zip"
    files = (
        DownloadFile(
            f"{OFFICIAL}.zip",
            "90528d7ca1a48142e341f4ef8d21d0de",
            f"http://cs231n.stanford.edu/{OFFICIAL}.zip",
            248_100_043,
        ),
    )

    def find(self, roots: Sequence[Path]) -> str | None:
        return next((str(place) for root in roots for place in _places(root) if _holds_layout(place)), None)

    def load(self, data: Data, roots: Sequence[Path]) -> Dataset:
        found = self.find(roots)
        if found is None:
            raise self.missing(roots)
        side = data.image_size or 64
        with _opened(Path(found)) as tree:
            wnids = _wnids(tree)
            train, test = (decode(pictures(tree, wnids), side, channels=3) for pictures in (_train, _val))
            notes = count_remarks([*train.remarks, *test.remarks, *_passed_over(tree, wnids)])
        return Dataset(self.name, train.images, test.images, tuple(wnids), notes)
