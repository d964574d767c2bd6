"""Real images with labels: from a name in a recipe to two splits of uint8 tensors."""

from pathlib import Path

from afdctl import registry
from afdctl.data.dataset import DataSet, Images, Source
from afdctl.data.places import find_data_dir, search_path
from afdctl.recipe.schema import Data

__all__ = ["DataSet", "Images", "Source", "dataset", "find_data_dir", "load", "search_path"]


def dataset(name: str) -> DataSet:
    """The data set that `name` stands for in the registry."""
    found: DataSet = registry.load(registry.DATASETS, name)()
    return found


def load(recipe_data: Data, data_dir: Path | None) -> Source:
    """Read the recipe's data set, after a download where it is missing; DataMissingError, CorruptError."""
    wanted = dataset(recipe_data.dataset)
    roots = search_path(Path(recipe_data.path) if recipe_data.path else data_dir)
    if wanted.find(roots) is None:
        wanted.fetch(roots)
    return wanted.load(recipe_data, roots)
