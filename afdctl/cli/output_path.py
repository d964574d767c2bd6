"""Output files: at the path of an option, or in the folder that it names."""

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

# the longest run names in a file name, which has at most 255 bytes
MAX_RUNS_BYTES = 150


@dataclass(frozen=True)
class OutputPath:
    """The path of an option. With a slash at its end (`slash`) it is a folder, even if it does not exist yet."""

    path: Path
    slash: bool = False
    option: str = "--out"

    @classmethod
    def of(cls, text: str, option: str = "--out") -> "OutputPath":
        """Parse a path and expand `~`; RecipeError for an invalid path."""
        return cls(paths.path(text), text.endswith("/"), option)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, in which files get their default names."""
        return self.slash or self.path.is_dir()

    def file(self, name: str) -> Path:
        """Return the path of a file: this path, or `name` in the folder, which is created.

        RecipeError where no file can be written. Symbolic links are followed.
        """
        if self.is_folder:
            return self.within(name)
        self.check()
        return self._replaceable(self.path)

    def within(self, name: str) -> Path:
        """Return the path of one of several files in the folder, which is created. Errors: see `file`."""
        if self.path.exists() and not self.path.is_dir():
            raise RecipeError(f"{self.option} {self.path}: is a file, not a folder; name a folder")
        path = self.path / name
        try:
            with file_errors(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or "unknown reason").lower()
            raise RecipeError(
                f"{self.option} {path.parent}: cannot be created ({reason}); name another folder"
            ) from None
        return self._replaceable(path)

    def check(self) -> None:
        """Raise RecipeError where `file` would, without creating a folder."""
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
            raise RecipeError(f"{self.option} {path}: exists and is not a regular file, so it is not replaced")
        return path.resolve() if path.is_symlink() else path


def option(name: str, **more: Any) -> Any:
    """Return the typer option of an output path."""
    return typer.Option(name, parser=_reader(name), metavar=more.pop("metavar", "PATH"), show_default=False, **more)


def _reader(name: str) -> Any:
    # typer shows the name of a parser in the help
    reader = partial(OutputPath.of, option=name)
    reader.__name__ = "PATH"  # type: ignore[attr-defined]
    return reader


DEST = typer.Argument(
    parser=_reader("DEST"), metavar="DEST", help="A file or a folder, by default this one.", show_default=False
)


def runs_in_words(names: Sequence[str]) -> str:
    """Return the run names for a file name: `A`, `A-and-B`, or a number and a digest for many."""
    words = "-and-".join(names)
    if len(os.fsencode(words)) > MAX_RUNS_BYTES:
        words = f"{len(names)}-runs-{sha256(os.fsencode('/'.join(names))).hexdigest()[:8]}"
    return words


def copy(source: Path, to: OutputPath | None, *, force: bool) -> Path:
    """Copy a packaged file, by default into the working folder; RecipeError for an existing file."""
    from afdctl.runs import files

    target = (to or OutputPath(Path())).file(source.name)
    if target.exists() and not force:
        raise RecipeError(f"{target}: exists; pass --force to overwrite it")
    files.write_bytes(target, source.read_bytes())
    return target
