"""Where a user's code is, and how messages write it."""

from dataclasses import dataclass
from pathlib import Path

from afdctl import paths
from afdctl.errors import RecipeError
from afdctl.formatting import shorten


@dataclass(frozen=True)
class Spec:
    """Where code is, and the name of an object in it.

    `place` is the absolute path of a file, the dotted name of a module, or that name after the absolute path of the
    folder to import it from: `/code/mine/package.module`. `installed_in` is the folder that a package is installed in,
    of an entry point: no file of the working directory takes its place.
    """

    place: str
    name: str
    installed_in: str = ""

    @classmethod
    def parse(cls, text: str, folder: Path) -> "Spec":
        """Parse `file.py:Name` or `package.module:Name`, both with an optional path that is relative to `folder`.

        Nothing is read or executed. RecipeError for anything else.
        """
        place, _, name = text.rpartition(":")
        if not place or not name.isidentifier():
            raise RecipeError(f"'{shorten(text)}': name a function or class too, such as path/to/file.py:Name")
        has_path = place.endswith(".py") or "/" in place
        return cls(str((folder / paths.path(place)).resolve()) if has_path else place, name)

    def __str__(self) -> str:
        return f"{self.place}:{self.name}"

    @property
    def file(self) -> Path | None:
        """The file; None for a module."""
        return Path(self.place) if self.place.endswith(".py") else None

    @property
    def module(self) -> str:
        """The dotted name of a module."""
        return self.place.rpartition("/")[2]

    @property
    def folder(self) -> Path:
        """The folder that the code imports from, beside what is installed."""
        if self.installed_in:
            return Path(self.installed_in)
        return Path(self.place).parent if "/" in self.place else Path.cwd()

    @property
    def stem(self) -> str:
        """The file's or the module's name without its folder or package, and without its suffix."""
        return self.file.stem if self.file else self.module.rpartition(".")[2]


def shown(place: str) -> str:
    """Return a file relative to the working directory where it is inside, or the name of a module."""
    return str(paths.display_path(Path(place))) if "/" in place else place
