"""From a file, its bases, presets and overrides to a recipe."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from afdctl.errors import RecipeError
from afdctl.recipe.find import find
from afdctl.recipe.layers import chain, override, with_presets
from afdctl.recipe.merge import merge_all
from afdctl.recipe.parse import Layer, parse
from afdctl.recipe.report import report
from afdctl.recipe.schema import Recipe

REQUIRED: Final = ("data", "model", "defense", "attack", "train")


def load(path_or_name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file or of a packaged name, with `key.sub=value` overrides; RecipeError lists every problem."""
    return resolve(list(with_presets([*chain(find(path_or_name)), override(overrides)])))


def loads(text: str) -> Recipe:
    """The recipe that `dump` wrote; RecipeError if it was changed into something that is not one."""
    return resolve([parse(text, "recipe.toml")])


def resolve(layers: list[Layer]) -> Recipe:
    """The recipe that layers make, each over those before it."""
    # an absent table becomes an empty one, so that every missing key is named
    values: dict[str, Any] = {**{table: {} for table in REQUIRED}, **merge_all(layer.values for layer in layers)}
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(report(error, layers, values)) from None
