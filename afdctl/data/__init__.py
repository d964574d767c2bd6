"""Data sets: from a name to two splits of labelled uint8 images."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from afdctl import registry
from afdctl.data.base import Dataset, DatasetLoader, ImageTensors, search_path
from afdctl.data.user_dataset import check
from afdctl.errors import RecipeError
from afdctl.user_code.code import located

__all__ = ["Dataset", "DatasetLoader", "ImageTensors", "ensure", "load", "loader_of", "roots", "search_path"]


def loader_of(name: str) -> DatasetLoader:
    """Return the loader of a registered data set."""
    cls, code = registry.load(registry.DATASETS, name), registry.user_code(registry.DATASETS, name)
    if code and not issubclass(cls, DatasetLoader):
        raise RecipeError(f"{located(name)}: is not a subclass of afdctl.DatasetLoader")
    with code.running(f"{cls.__name__}()") if code else nullcontext():
        loader: DatasetLoader = cls()
    return loader


def roots(
    name: str, data_dir: Path | None, *, path: Path | None = None, recorded: Path | None = None
) -> tuple[Path, ...]:
    """Return the folders to search for a data set, see `search_path`.

    A new run on images of unknown size looks into the first folder only: nothing could tell whether images found
    elsewhere are the intended ones. A resumed run has their digest.
    """
    folders = search_path(data_dir, path=path, recorded=recorded)
    if loader_of(name).info:
        return folders
    if recorded is None:
        return folders[:1]
    # first even where it is missing, because the error names the first one
    return folders if data_dir else tuple(dict.fromkeys((recorded, *folders)))


def ensure(name: str, data_dir: Path | None, *, path: Path | None = None, recorded: Path | None = None) -> None:
    """Download a data set if it is missing. Errors: DataMissingError, DiskFullError."""
    _find(name, data_dir, path, recorded)


def load(
    name: str,
    data_dir: Path | None,
    *,
    path: Path | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    recorded: Path | None = None,
    **own: Any,
) -> Dataset:
    """Read a data set; download it first if it is missing.

    `path` is the recipe's `data.path`, `recorded` the data folder in a run's provenance. `image_size` (pixels a side)
    and `channels` (1 or 3) apply to loaders that resize, `own` are the further keys of a user's data set. Errors:
    DataMissingError, CorruptError, DiskFullError; RecipeError of a user's data set, see `check`.
    """
    loader, folders = _find(name, data_dir, path, recorded)
    code = registry.user_code(registry.DATASETS, name)
    with code.running("load()") if code else nullcontext():
        read: Any = loader.load
        dataset = read(folders, image_size=image_size, channels=channels, **own)
    return check(dataset, located(name)) if code else dataset


def _find(
    name: str, data_dir: Path | None, path: Path | None, recorded: Path | None
) -> tuple[DatasetLoader, tuple[Path, ...]]:
    """Return the loader of a data set and the folders that it reads; download the data set if it is missing."""
    loader, folders = loader_of(name), roots(name, data_dir, path=path, recorded=recorded)
    code = registry.user_code(registry.DATASETS, name)
    with code.running("load()") if code else nullcontext():
        if loader.find(folders) is None:
            loader.fetch(folders)
    return loader, folders
