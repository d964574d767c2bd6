"""Tiny-ImageNet from its official archive, or from any zip or folder in that layout (a subset of the classes, say)."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile, is_zipfile

from afdctl.data.dataset import About, DataSet, File, Source
from afdctl.data.pictures import Picture, decode
from afdctl.errors import CorruptError
from afdctl.recipe.schema import Data

CLASSES = "wnids.txt"
OFFICIAL = "tiny-imagenet-200"


class Tree(NamedTuple):
    """A folder or a zip: where it lies, the names of its training images, and how the file of a name is read."""

    where: Path
    names: list[str]
    read: Callable[[str], bytes]

    def lines(self, name: str) -> list[str]:
        try:
            return self.read(name).decode().splitlines()
        except (OSError, KeyError, BadZipFile, UnicodeDecodeError) as error:
            raise CorruptError(f"{self.where}: {name} is missing or broken: replace the data set") from error

    def picture(self, name: str, label: int) -> Picture:
        return Picture(label, f"{self.where}/{name}", partial(self.read, name))


@contextmanager
def _opened(path: Path) -> Iterator[Tree]:
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.glob("train/*/images/*.JPEG"))
        yield Tree(path, names, lambda name: (path / name).read_bytes())
        return
    try:
        # given an open file: a ZipFile that opened its own counts its readers without a lock, and we read in threads
        with path.open("rb") as file, ZipFile(file) as archive:
            top = next((name.removesuffix(CLASSES) for name in archive.namelist() if name.endswith(CLASSES)), "")
            names = sorted(name.removeprefix(top) for name in archive.namelist() if name.startswith(f"{top}train/"))
            yield Tree(path, [name for name in names if name.endswith(".JPEG")], lambda name: archive.read(top + name))
    except BadZipFile as error:
        raise CorruptError(f"{path}: not a whole zip archive: replace it") from error


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


def _train(tree: Tree, wnids: list[str]) -> list[Picture]:
    names = defaultdict(list)
    for name in tree.names:
        names[name.split("/")[1]].append(name)
    if empty := [wnid for wnid in wnids if not names[wnid]]:
        raise CorruptError(f"{tree.where}: no training images of {', '.join(empty)}: replace the data set")
    return [tree.picture(name, label) for label, wnid in enumerate(wnids) for name in names[wnid]]


def _val(tree: Tree, wnids: list[str]) -> list[Picture]:
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    rows = [line.split("\t") for line in tree.lines("val/val_annotations.txt")]
    try:
        return [tree.picture(f"val/images/{row[0]}", labels[row[1]]) for row in rows]
    except (IndexError, KeyError) as error:
        raise CorruptError(f"{tree.where}: val_annotations.txt does not fit {CLASSES}: replace the data set") from error


class TinyImageNet(DataSet):
    """200 classes of ImageNet at 64 x 64 (Stanford CS231n); the published validation images are the test split."""

    name = "tiny_imagenet"
    about = About(100_000, 10_000, 200, (3, 64, 64))
    any_size = True
    accepts = f"a folder or another .zip in the layout of {OFFICIAL}.zip"
    files = (
        File(
            f"{OFFICIAL}.zip",
            "90528d7ca1a48142e341f4ef8d21d0de",
            f"http://cs231n.stanford.edu/{OFFICIAL}.zip",
            248_100_043,
        ),
    )

    def find(self, roots: Sequence[Path]) -> str | None:
        return next((str(place) for root in roots for place in _places(root) if _holds_layout(place)), None)

    def load(self, data: Data, roots: Sequence[Path]) -> Source:
        found = self.find(roots)
        if found is None:
            raise self.missing(roots)
        side = data.image_size or 64
        with _opened(Path(found)) as tree:
            wnids = tree.lines(CLASSES)
            train, test = (decode(pictures(tree, wnids), side, channels=3) for pictures in (_train, _val))
        return Source(self.name, train, test, tuple(wnids))
