"""An image folder of the user's own: train/<class>/* and test/<class>/* (or val/)."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from afdctl.data.base import Dataset, DatasetLoader
from afdctl.data.image_files import SUFFIXES, ImageFile, Remark, count_remarks, decode
from afdctl.errors import CorruptError, DataMissingError
from afdctl.formatting import shorten
from afdctl.recipe.schema import Data

BESIDE = "files passed over, as they are in no class's folder"
BELOW = "images passed over, as they are in subfolders of a class"
OTHER = f"files passed over, as their names end in none of {' '.join(SUFFIXES)}"


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _classes(split: Path) -> tuple[str, ...]:
    return tuple(path.name for path in _visible(split) if path.is_dir())


def _files(folder: Path) -> list[Path]:
    files = [path for path in _visible(folder) if _is_image(path)]
    if not files:
        raise CorruptError(f"{folder}: no images ({', '.join(SUFFIXES)}) in it: add some or delete the class")
    return files


def _pictures(split: Path, classes: Sequence[str]) -> list[ImageFile]:
    """The images of a split, the classes in turn, so that the first n of them are of all classes."""
    ranked = [
        (rank, label, path) for label, name in enumerate(classes) for rank, path in enumerate(_files(split / name))
    ]
    return [ImageFile.of(label, path) for _, label, path in sorted(ranked)]


def _passed_over(split: Path, classes: Sequence[str]) -> Iterator[Remark]:
    """Every file of a split that is not read, but for hidden ones."""
    yield from (Remark(BESIDE, str(path)) for path in _visible(split) if path.name not in classes)
    for path in (path for name in classes for path in _visible(split / name) if not _is_image(path)):
        if path.is_dir():
            below = (Path(folder, name) for folder, _, names in os.walk(path) for name in sorted(names))
            yield from (Remark(BELOW, str(file)) for file in below if _is_image(file))
        else:
            yield Remark(OTHER, str(path))


class Folder(DatasetLoader):
    """`data.path`, or the data folder itself; its classes are the names of the folders, sorted."""

    name = "folder"
    about = None
    any_size = True

    def find(self, roots: Sequence[Path]) -> str | None:
        return next((str(root) for root in roots if (root / "train").is_dir() and self._test(root).is_dir()), None)

    def load(self, data: Data, roots: Sequence[Path]) -> Dataset:
        if (found := self.find(roots)) is None:
            raise self.missing(roots)
        assert data.image_size is not None  # a recipe without it is refused
        splits = Path(found) / "train", self._test(Path(found))
        classes = self._agreed(*splits)
        train, test = (decode(_pictures(split, classes), data.image_size, data.channels or 3) for split in splits)
        passed_over = [remark for split in splits for remark in _passed_over(split, classes)]
        notes = count_remarks([*train.remarks, *test.remarks, *passed_over])
        return Dataset(self.name, train.images, test.images, classes, notes)

    def _agreed(self, train: Path, test: Path) -> tuple[str, ...]:
        """The classes of both splits; CorruptError where they differ or make no classification."""
        classes, others = _classes(train), _classes(test)
        if difference := set(classes) ^ set(others):
            names = ", ".join(map(shorten, sorted(difference)))
            raise CorruptError(f"{train.parent}: not in both {train.name}/ and {test.name}/: {names}")
        if len(classes) < 2:
            found = f"only one class ({shorten(classes[0])})" if classes else "no classes"
            raise CorruptError(f"{train}: {found}: each is a folder of images, and there must be two or more")
        if strange := [name for name in classes if not name.isprintable()]:
            raise CorruptError(f"{train}: a class is named '{shorten(strange[0])}': rename it, in {test.name}/ too")
        return classes

    def fetch(self, roots: Sequence[Path]) -> None:
        raise self.missing(roots)

    def missing(self, roots: Sequence[Path], reason: str = "there is nothing to download") -> DataMissingError:
        root = roots[0]
        zips = [str(root)] if root.suffix == ".zip" else sorted(str(path) for path in root.glob("*.zip"))
        unzip = f"; unzip {' or '.join(zips)} first" if zips else ""
        return DataMissingError(
            f"{root}: not an image folder with train/<class>/ and test/<class>/ (or val/), and {reason}: "
            f"name one with data.path or --data-dir{unzip}"
        )

    @staticmethod
    def _test(root: Path) -> Path:
        return root / "test" if (root / "test").is_dir() else root / "val"
