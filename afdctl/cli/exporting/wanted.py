"""What all modes of `afdctl export` are told, and where their files go."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from afdctl.errors import RecipeError

if TYPE_CHECKING:
    from afdctl.store.run import Run


@dataclass(frozen=True)
class Wanted:
    """The command line's wishes that do not depend on the mode; `runs` are there, at least one.

    `named`: whether they were named, or stand for all there are, or for the newest.
    """

    runs: list["Run"]
    named: bool
    checkpoint: str
    out: Path | None
    data_dir: Path | None
    device: str
    json: bool
    format: str | None = None
    paper: bool = False

    def place(self, name: str) -> Path:
        """Where a file goes: --out, or `name` in the folder --out, by default the current one.

        RecipeError where no file can be put there. A link is followed, as a copy would.
        """
        out = self.out or Path()
        return writable(out / name if out.is_dir() else out)

    def place_within(self, name: str) -> Path:
        """Where one of several files goes: at its path in the folder --out, which is made. Errors: as of `place`."""
        out = self.out or Path()
        if out.exists() and not out.is_dir():
            raise RecipeError(f"--out {out}: several files are written; name a folder")
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return _replaceable(path)


def writable(path: Path, option: str = "--out") -> Path:
    """Where the file of an option goes; RecipeError where there is no folder for it, or something else in its place."""
    path = _replaceable(path, option)
    if not path.parent.is_dir():
        raise RecipeError(f"{option} {path}: there is no folder {path.parent}; make it first")
    return path


def _replaceable(path: Path, option: str = "--out") -> Path:
    if path.exists() and not path.is_file():
        raise RecipeError(f"{option} {path}: is there and is no regular file, so it is not replaced; name another")
    return path.resolve() if path.is_symlink() else path
