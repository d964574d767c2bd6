"""Tiny-ImageNet from its published archive, or from any zip or folder in that layout (a subset of classes, say)."""

import errno
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import BadZipFile, ZipFile, is_zipfile

from afdctl import paths
from afdctl.data.base import Dataset, DatasetInfo, DatasetLoader, DownloadFile
from afdctl.data.image_files import MAX_FILE_BYTES, ImageFile, Remark, count_remarks, decode
from afdctl.errors import CorruptError

NAME: Final = "tiny-imagenet-200"
CLASSES_FILE: Final = "wnids.txt"
TRAIN_IMAGE: Final = re.compile(r"train/[^/]+/images/[^/]+")
SUFFIX: Final = ".JPEG"
# Kinds of skipped files, as reported to the user.
OTHER_SUFFIX: Final = f"skipped training files whose names do not end in {SUFFIX}"
OTHER_CLASS: Final = f"skipped training images whose class is not in {CLASSES_FILE}"


class TinyImageNet(DatasetLoader):
    """200 classes of ImageNet at 64 x 64 (Stanford CS231n); the published validation images are the test split."""

    name = "tiny_imagenet"
    info = DatasetInfo(train=100_000, test=10_000, classes=200, shape=(3, 64, 64))
    resizes = True
    accepts = f"a folder or another .zip in the layout of {NAME}.zip"
    files = (
        DownloadFile(
            path=f"{NAME}.zip",
            md5="90528d7ca1a48142e341f4ef8d21d0de",
            url=f"http://cs231n.stanford.edu/{NAME}.zip",
            size=248_100_043,
        ),
    )

    def find(self, roots: Sequence[Path]) -> str | None:
        return next((str(path) for root in roots for path in _candidates(root) if _has_layout(path)), None)

    def load(self, roots: Sequence[Path], *, image_size: int | None = None, channels: int | None = None) -> Dataset:
        location = self.find(roots)
        if location is None:
            raise self.missing_error(roots)
        side = image_size or self.info.shape[1]
        with _open(Path(location)) as tree:
            wnids = _class_names(tree)
            train, test = (decode(list_images(tree, wnids), side, channels=3) for list_images in (_train, _val))
            skipped = list(_skipped_files(tree, wnids))
        return Dataset(
            name=self.name,
            train=train.images,
            test=test.images,
            classes=tuple(wnids),
            notes=count_remarks([*train.remarks, *test.remarks, *skipped]),
        )


class Tree(NamedTuple):
    """A folder or a zip in the layout: its path, the names of its training images, and a reader by name."""

    path: Path
    names: list[str]
    read: Callable[[str], bytes]

    def lines(self, name: str) -> list[str]:
        """Read a text file. Error: CorruptError."""
        try:
            return self.read(name).decode().splitlines()
        except (OSError, RuntimeError, BadZipFile, UnicodeDecodeError) as error:
            raise CorruptError(f"{self.path}: {name} is missing or broken: replace the data set") from error

    def image_file(self, name: str, label: int) -> ImageFile:
        return ImageFile(label, f"{self.path}/{name}", partial(self.read, name))


@contextmanager
def _open(path: Path) -> Iterator[Tree]:
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.glob("train/*/images/*"))
        yield Tree(path, names, lambda name: paths.read(path / name, MAX_FILE_BYTES))
        return
    try:
        # a ZipFile that opens the file itself counts its readers without a lock; we read from several threads
        with path.open("rb") as file, ZipFile(file) as archive:
            members = archive.namelist()
            top = next((name.removesuffix(CLASSES_FILE) for name in members if name.endswith(CLASSES_FILE)), "")
            names = sorted(name.removeprefix(top) for name in members if name.startswith(f"{top}train/"))
            yield Tree(path, list(filter(TRAIN_IMAGE.fullmatch, names)), lambda name: _read_member(archive, top + name))
    except BadZipFile as error:
        raise CorruptError(f"{path}: not a whole zip archive: replace it") from error


def _read_member(archive: ZipFile, name: str) -> bytes:
    """Return the unpacked content of a file in a zip. Error: OSError if it is missing or too large."""
    try:
        size = archive.getinfo(name).file_size
    except KeyError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
    if size > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"has {size:,} bytes; the limit is {MAX_FILE_BYTES:,}", name)
    return archive.read(name)


def _candidates(root: Path) -> Iterator[Path]:
    """Yield the paths in a root that may have the layout, the published names first."""
    yield from (root / NAME, root / f"{NAME}.zip", root)
    if root.is_dir():
        yield from sorted(root.iterdir())


def _has_layout(path: Path) -> bool:
    if path.is_dir():
        return (path / CLASSES_FILE).is_file()
    if path.suffix != ".zip" or not path.is_file():
        return False
    if path.name.startswith("tiny-imagenet"):
        return True  # unread, so that a truncated archive is reported as broken instead of missing
    return is_zipfile(path) and any(name.endswith(CLASSES_FILE) for name in ZipFile(path).namelist())


def _class_names(tree: Tree) -> list[str]:
    wnids = [line.strip() for line in tree.lines(CLASSES_FILE) if line.strip()]
    if len(wnids) < 2 or len(set(wnids)) < len(wnids):
        raise CorruptError(
            f"{tree.path}: {CLASSES_FILE} must name at least two classes, each once: replace the data set"
        )
    return wnids


def _train(tree: Tree, wnids: list[str]) -> list[ImageFile]:
    names = defaultdict(list)
    for name in tree.names:
        if name.endswith(SUFFIX):
            names[_class_of(name)].append(name)
    if empty := [wnid for wnid in wnids if not names[wnid]]:
        raise CorruptError(f"{tree.path}: no training images of {', '.join(empty)}: replace the data set")
    return [tree.image_file(name, label) for label, wnid in enumerate(wnids) for name in names[wnid]]


def _val(tree: Tree, wnids: list[str]) -> list[ImageFile]:
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    rows = [line.split("\t") for line in tree.lines("val/val_annotations.txt")]
    try:
        images = [tree.image_file(f"val/images/{row[0]}", labels[row[1]]) for row in rows]
    except (IndexError, KeyError) as error:
        message = f"{tree.path}: val_annotations.txt does not fit {CLASSES_FILE}: replace the data set"
        raise CorruptError(message) from error
    if empty := sorted(set(labels) - {row[1] for row in rows}):
        raise CorruptError(f"{tree.path}: no validation images of {', '.join(empty)}: replace the data set")
    return images


def _skipped_files(tree: Tree, wnids: list[str]) -> Iterator[Remark]:
    for name in tree.names:
        if not name.endswith(SUFFIX):
            yield Remark(OTHER_SUFFIX, f"{tree.path}/{name}")
        elif _class_of(name) not in wnids:
            yield Remark(OTHER_CLASS, f"{tree.path}/{name}")


def _class_of(name: str) -> str:
    """Return the class of a training image, from its path `train/<class>/images/<file>`."""
    return name.split("/")[1]
