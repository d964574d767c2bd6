"""Where a command's file goes: to the path of an option, or into the folder that it names."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import typer

from afdctl import paths
from afdctl.errors import RecipeError, file_errors

RUNS_BYTES = 150
"""Of the 255 that a file's name may have."""


@dataclass(frozen=True)
class OutputPath:
    """The path of an option. `slash`: it was written with a slash at its end, so it is a folder, there or not."""

    path: Path
    slash: bool = False
    option: str = "--out"

    @classmethod
    def of(cls, text: str, option: str = "--out") -> "OutputPath":
        """Read what a user wrote, `~` expanded; RecipeError for what can be no path."""
        return cls(paths.path(text), text.endswith("/"), option)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def is_folder(self) -> bool:
        """Whether files go into it, under names of their own."""
        return self.slash or self.path.is_dir()

    def file(self, name: str) -> Path:
        """Return where a file goes: the path itself, or `name` in the folder, which is made.

        RecipeError where no file can be put there. A link is followed, as a copy would.
        """
        if self.is_folder:
            return self.within(name)
        self.check()
        return self._replaceable(self.path)

    def within(self, name: str) -> Path:
        """Return where one of several files goes: at its path in the folder, which is made. Errors: as of `file`."""
        if self.path.exists() and not self.path.is_dir():
            raise RecipeError(f"{self.option} {self.path}: is a file, not a folder; name a folder")
        path = self.path / name
        try:
            with file_errors(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or "unknown reason").lower()
            raise RecipeError(f"{self.option} {path.parent}: cannot be made ({reason}); name another folder") from None
        return self._replaceable(path)

    def check(self) -> None:
        """Raise RecipeError for what `file` would refuse, without making a folder."""
        if self.is_folder:
            if not self.path.is_dir() and self.path.exists():
                raise RecipeError(f"{self.option} {self.path}/: is a file, not a folder; name a folder")
            return
        path = self._replaceable(self.path)
        if not path.parent.is_dir():
            raise RecipeError(
                f"{self.option} {path}: there is no folder {path.parent}; make it first, or end a folder's name with /"
            )

    def _replaceable(self, path: Path) -> Path:
        if path.exists() and not path.is_file():
            raise RecipeError(f"{self.option} {path}: is there and is no regular file, so it is not replaced")
        return path.resolve() if path.is_symlink() else path


def option(name: str, **more: Any) -> Any:
    """Make the typer option of a place."""
    return typer.Option(name, parser=_reader(name), metavar=more.pop("metavar", "PATH"), show_default=False, **more)


def _reader(name: str) -> Any:
    # typer takes the name of a parser for the help
    reader = partial(OutputPath.of, option=name)
    reader.__name__ = "PATH"  # type: ignore[attr-defined]
    return reader


DEST = typer.Argument(
    parser=_reader("DEST"), metavar="DEST", help="A file or a folder, by default this one.", show_default=False
)


def runs_in_words(names: Sequence[str]) -> str:
    """Begin a file's name with those of runs, so that exports of others are other files: `A`, `A-and-B`."""
    words = "-and-".join(names)
    if len(os.fsencode(words)) > RUNS_BYTES:
        words = f"{len(names)}-runs-{sha256(os.fsencode('/'.join(names))).hexdigest()[:8]}"
    return words


def copy(source: Path, to: OutputPath | None, *, force: bool) -> Path:
    """Copy a packaged file to a place, by default into the working folder; RecipeError for one that is there."""
    from afdctl.runs import files

    target = (to or OutputPath(Path())).file(source.name)
    if target.exists() and not force:
        raise RecipeError(f"{target}: exists; pass --force to overwrite it")
    files.write_bytes(target, source.read_bytes())
    return target
