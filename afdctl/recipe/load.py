"""From a file, its bases, presets and overrides to a recipe."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from afdctl import paths
from afdctl.errors import RecipeError
from afdctl.recipe.errors import report
from afdctl.recipe.presets import merge, merge_all, preset
from afdctl.recipe.schema import Recipe
from afdctl.recipe.toml_source import Layer, extreme, find, find_base, key_paths, parse, read, shown, toml_value

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


CHAIN: Final = 16
"""Files that extend each other, at most; packaged ones are up to 4."""


def chain(path: Path, descendants: tuple[Path, ...] = ()) -> list[Layer]:
    """The layers of a file and of all that it extends, the root first."""
    layer = read(path)
    if "extends" not in layer.values:
        return [layer]
    extends, where = layer.values.pop("extends"), layer.where["extends",]
    if not isinstance(extends, str):
        raise RecipeError(
            f"{where}extends = {paths.shortened(str(extends))}: must be text in quotes, a path or a packaged name"
        )
    if reason := paths.fault(f"{extends}.toml"):
        raise RecipeError(f'{where}extends = "{paths.shortened(extends)}": {reason}')
    base, family = find_base(extends, path), (*descendants, path)
    if base is None:
        raise RecipeError(
            f'{where}extends = "{paths.shortened(extends)}": no such file beside this one, and no packaged recipe'
        )
    if any(base.samefile(member) for member in family):
        circle = " -> ".join(str(shown(member)) for member in (*family, base))
        raise RecipeError(f'{where}extends = "{paths.shortened(extends)}": goes in a circle: {circle}')
    if len(family) > CHAIN:
        raise RecipeError(f'{where}extends = "{paths.shortened(extends)}": a chain of more than {CHAIN} files')
    return [*chain(base, family), layer]


def override(assignments: Sequence[str]) -> Layer:
    """The layer of `--set key.sub=value`; a value that is not TOML is taken as text."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            raise RecipeError(f"--set {paths.shortened(assignment)}: write --set key.sub=value")
        value = toml_value(text.strip())
        for part in reversed(key.split(".")):
            value = {part.strip(): value}
        if reason := extreme(value):
            raise RecipeError(f"--set {reason}")
        values = merge(values, value)
    return Layer(values, dict.fromkeys(key_paths(values), "--set "))


def with_presets(layers: list[Layer]) -> Iterator[Layer]:
    """Each layer after the preset of the fidelity that it names; `sound` before all of them."""
    resolved = merge_all(layer.values for layer in layers)
    yield Layer(preset("sound", resolved), {})
    for layer in layers:
        if "fidelity" in layer.values:
            values = preset(layer.values["fidelity"], resolved)
            yield Layer(values, dict.fromkeys(key_paths(values), layer.where["fidelity",]))
        yield layer
