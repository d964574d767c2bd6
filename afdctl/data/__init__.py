"""Real images with labels: from a name in a recipe to two splits of uint8 tensors."""

from pathlib import Path

from afdctl import registry
from afdctl.data.base import Dataset, DatasetLoader, ImageTensors, search_path
from afdctl.recipe.schema import Data

__all__ = ["Dataset", "DatasetLoader", "ImageTensors", "dataset", "load", "roots", "search_path"]


def base(name: str) -> DatasetLoader:
    """The data set that `name` stands for in the registry."""
    found: DatasetLoader = registry.load(registry.DATASETS, name)()
    return found


def roots(table: Data, data_dir: Path | None, own: Path | None = None) -> tuple[Path, ...]:
    """The folders to look for a recipe's data set in: those of `search_path`, of a new run's own images the first."""
    places = search_path(data_dir, named=Path(table.path) if table.path else None, own=own)
    # only an earlier digest tells whether images of no published size are those that are meant
    return places if own or base(table.dataset).about else places[:1]


def load(table: Data, data_dir: Path | None, own: Path | None = None) -> Dataset:
    """Read the recipe's data set, after a download where it is missing; DataMissingError, CorruptError."""
    wanted, places = base(table.dataset), roots(table, data_dir, own)
    if wanted.find(places) is None:
        wanted.fetch(places)
    return wanted.load(table, places)
