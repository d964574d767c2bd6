"""Which file a recipe's name or path means."""

import os
from pathlib import Path
from typing import Final

import afdctl
from afdctl import files
from afdctl.errors import RecipeError
from afdctl.registry import nearest

PACKAGE: Final = Path(afdctl.__file__).parent


def folder() -> Path:
    """Where the packaged recipes lie: inside the package in a wheel, beside it in a checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"


def packaged() -> dict[str, Path]:
    """Name -> file of every packaged recipe; the files in `bases/` are only there to be extended."""
    return {path.stem: path for path in sorted(folder().glob("*.toml"))}


def find(path_or_name: str) -> Path:
    """The file that a user means: a path, `mnist_wgan`, or `recipes/mnist_wgan.toml` of the package."""
    path = files.path(path_or_name)
    if path.is_file():
        return path
    known = packaged()
    if path.parent in (Path(), Path("recipes")) and path.suffix in ("", ".toml") and path.stem in known:
        return known[path.stem]
    if path.is_dir():
        raise RecipeError(f"{path}: is a directory; name a recipe's file")
    if path.exists():
        # a pipe or a device, which reading refuses by its kind
        return path
    near = nearest(path.stem, known)
    hint = f"did you mean '{near}'?" if near else "`afdctl recipes ls` lists the packaged ones"
    raise RecipeError(f"{path}: no such recipe ({hint})")


def find_base(extends: str, child: Path) -> Path | None:
    """The file that `extends` in the file `child` means: relative to `child`, or a packaged name."""
    candidates = (child.parent / os.path.expanduser(extends), folder() / f"{extends}.toml")
    return next((path for path in candidates if path.is_file()), None)


def shown(path: Path) -> Path:
    """The path as a message shows it: relative to the working directory where it lies inside."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
