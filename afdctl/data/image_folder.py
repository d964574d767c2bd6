"""A custom image folder: train/<class>/* and test/<class>/* (or val/<class>/*)."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from afdctl.data.base import Dataset, DatasetLoader
from afdctl.data.image_files import SUFFIXES, ImageFile, Remark, count_remarks, decode
from afdctl.errors import CorruptError, DataMissingError
from afdctl.formatting import shorten

# Kinds of skipped files, as reported to the user.
OUTSIDE_CLASSES = "skipped files that are in no class folder"
IN_SUBFOLDERS = "skipped images in subfolders of a class"
OTHER_SUFFIX = f"skipped files whose names end in none of {' '.join(SUFFIXES)}"


class Folder(DatasetLoader):
    """`data.path`, or the data folder itself; its classes are the sorted names of the class folders."""

    name = "folder"
    info = None
    resizes = True

    def find(self, roots: Sequence[Path]) -> str | None:
        return next((str(root) for root in roots if (root / "train").is_dir() and _test_split(root).is_dir()), None)

    def load(self, roots: Sequence[Path], *, image_size: int | None = None, channels: int | None = None) -> Dataset:
        if (location := self.find(roots)) is None:
            raise self.missing_error(roots)
        assert image_size is not None  # the recipe's validation requires it
        splits = Path(location) / "train", _test_split(Path(location))
        classes = _common_classes(*splits)
        train, test = (decode(_image_files(split, classes), image_size, channels or 3) for split in splits)
        skipped = [remark for split in splits for remark in _skipped_files(split, classes)]
        return Dataset(
            name=self.name,
            train=train.images,
            test=test.images,
            classes=classes,
            notes=count_remarks([*train.remarks, *test.remarks, *skipped]),
        )

    def fetch(self, roots: Sequence[Path]) -> None:
        raise self.missing_error(roots)

    def missing_error(self, roots: Sequence[Path], reason: str = "there is nothing to download") -> DataMissingError:
        root = roots[0]
        zips = [str(root)] if root.suffix == ".zip" else sorted(str(path) for path in root.glob("*.zip"))
        unzip = f"; unzip {' or '.join(zips)} first" if zips else ""
        return DataMissingError(
            f"{root}: not an image folder with train/<class>/ and test/<class>/ (or val/), and {reason}: "
            f"name one with data.path or --data-dir{unzip}"
        )


def _test_split(root: Path) -> Path:
    return root / "test" if (root / "test").is_dir() else root / "val"


def _visible(folder: Path) -> list[Path]:
    # not .DS_Store and the like
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _class_names(split: Path) -> tuple[str, ...]:
    return tuple(path.name for path in _visible(split) if path.is_dir())


def _common_classes(train: Path, test: Path) -> tuple[str, ...]:
    """Return the classes of both splits. Error: CorruptError if they differ or cannot be a classification task."""
    classes = _class_names(train)
    if difference := set(classes) ^ set(_class_names(test)):
        names = ", ".join(map(shorten, sorted(difference)))
        raise CorruptError(f"{train.parent}: not in both {train.name}/ and {test.name}/: {names}")
    if len(classes) < 2:
        count = f"only one class ({shorten(classes[0])})" if classes else "no classes"
        raise CorruptError(f"{train}: {count}: each class is a folder of images, and there must be two or more")
    if unprintable := [name for name in classes if not name.isprintable()]:
        raise CorruptError(f"{train}: a class is named '{shorten(unprintable[0])}': rename it, also in {test.name}/")
    return classes


def _image_files(split: Path, classes: Sequence[str]) -> list[ImageFile]:
    """List the images of a split, one class after another in turn, so that the first N contain all classes."""
    ranked = [
        (rank, label, path)
        for label, name in enumerate(classes)
        for rank, path in enumerate(_class_images(split / name))
    ]
    return [ImageFile.from_path(label, path) for _, label, path in sorted(ranked)]


def _class_images(folder: Path) -> list[Path]:
    images = [path for path in _visible(folder) if _is_image(path)]
    if not images:
        raise CorruptError(f"{folder}: no images ({', '.join(SUFFIXES)}) in it: add some or delete the class")
    return images


def _skipped_files(split: Path, classes: Sequence[str]) -> Iterator[Remark]:
    """Report every file of a split that is not read, except hidden ones."""
    yield from (Remark(OUTSIDE_CLASSES, str(path)) for path in _visible(split) if path.name not in classes)
    for path in (path for name in classes for path in _visible(split / name) if not _is_image(path)):
        if path.is_dir():
            below = (Path(folder, name) for folder, _, names in os.walk(path) for name in sorted(names))
            yield from (Remark(IN_SUBFOLDERS, str(file)) for file in below if _is_image(file))
        else:
            yield Remark(OTHER_SUFFIX, str(path))
