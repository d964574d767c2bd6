"""Data sets: from a name to two splits of labelled uint8 images."""

from pathlib import Path

from afdctl import registry
from afdctl.data.base import Dataset, DatasetLoader, ImageTensors, search_path

__all__ = ["Dataset", "DatasetLoader", "ImageTensors", "load", "loader_of", "roots", "search_path"]


def loader_of(name: str) -> DatasetLoader:
    """Return the loader of a registered data set."""
    loader: DatasetLoader = registry.load(registry.DATASETS, name)()
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


def load(
    name: str,
    data_dir: Path | None,
    *,
    path: Path | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    recorded: Path | None = None,
) -> Dataset:
    """Read a data set; download it first if it is missing.

    `path` is the recipe's `data.path`, `recorded` the data folder in a run's provenance. `image_size` (pixels a side)
    and `channels` (1 or 3) apply to loaders that resize. Errors: DataMissingError, CorruptError, DiskFullError.
    """
    loader, folders = loader_of(name), roots(name, data_dir, path=path, recorded=recorded)
    if loader.find(folders) is None:
        loader.fetch(folders)
    return loader.load(folders, image_size=image_size, channels=channels)
