"""Recipes: what a training is made of, read from TOML and checked before anything heavy is imported."""

from afdctl.recipe.dump import digest, dump, file_schema
from afdctl.recipe.load import load, loads
from afdctl.recipe.schema import Recipe
from afdctl.recipe.toml_source import find, packaged

__all__ = ["Recipe", "digest", "dump", "file_schema", "find", "load", "loads", "packaged"]
