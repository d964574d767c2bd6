"""Recipes: the settings of a training, read from TOML and validated without importing torch."""

from afdctl.recipe.load import digest, dump, file_schema, find, load, loads, of_values, packaged
from afdctl.recipe.schema import Recipe

__all__ = ["Recipe", "digest", "dump", "file_schema", "find", "load", "loads", "of_values", "packaged"]
