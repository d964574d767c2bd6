"""An image folder of the user's own: train/<class>/* and test/<class>/* (or val/)."""

from collections.abc import Sequence
from pathlib import Path

from afdctl.data.dataset import DataSet, Source
from afdctl.data.pictures import Picture, decode
from afdctl.errors import CorruptError, DataMissingError
from afdctl.recipe.schema import Data

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


def _classes(split: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in split.iterdir() if path.is_dir() and not path.name.startswith(".")))


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    if not files:
        raise CorruptError(f"{folder}: no images ({', '.join(sorted(SUFFIXES))}): add some or delete the class")
    return files


def _pictures(split: Path, classes: Sequence[str]) -> list[Picture]:
    """The images of a split, the classes in turn, so that the first n of them are of all classes."""
    ranked = [
        (rank, label, path) for label, name in enumerate(classes) for rank, path in enumerate(_files(split / name))
    ]
    return [Picture(label, str(path), path.read_bytes) for _, label, path in sorted(ranked)]


class Folder(DataSet):
    """`data.path`, or the data folder itself; its classes are the names of the folders, sorted."""

    name = "folder"
    about = None
    any_size = True

    def find(self, roots: Sequence[Path]) -> str | None:
        root = roots[0]  # never another place: whose images they are matters
        return str(root) if (root / "train").is_dir() and self._test(root).is_dir() else None

    def load(self, data: Data, roots: Sequence[Path]) -> Source:
        if self.find(roots) is None:
            raise self.missing(roots)
        assert data.image_size is not None  # a recipe without it is refused
        splits = roots[0] / "train", self._test(roots[0])
        classes, others = map(_classes, splits)
        if difference := set(classes) ^ set(others):
            names = ", ".join(sorted(difference))
            raise CorruptError(f"{roots[0]}: not in both {splits[0].name}/ and {splits[1].name}/: {names}")
        if not classes:
            raise CorruptError(f"{splits[0]}: no classes: each is a folder of images")
        train, test = (decode(_pictures(split, classes), data.image_size, data.channels or 3) for split in splits)
        return Source(self.name, train, test, classes)

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
