"""Load a recipe: its file, the files that it extends, presets and `--set` overrides."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Final

import afdctl
from afdctl import paths
from afdctl.errors import RecipeError
from afdctl.formatting import shorten
from afdctl.recipe import toml_source
from afdctl.recipe.errors import validate
from afdctl.recipe.fields import KEYS_BY_KIND, Table
from afdctl.recipe.presets import preset
from afdctl.recipe.schema import DEFENSES, Attack, Data, Recipe
from afdctl.recipe.toml_source import Layer, key_paths, parse, parse_assignments, read

PACKAGE: Final = Path(afdctl.__file__).parent
REQUIRED: Final = ("data", "model", "defense", "attack", "train")
# files that extend each other; packaged ones are up to 4
MAX_CHAIN: Final = 16
# table -> the key that decides which further keys the table has
KIND_KEYS: Final = {"data": "dataset", "defense": "name", "attack": "name"}


def folder() -> Path:
    """Return the folder of packaged recipes: inside the package in a wheel, beside it in a checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"


def packaged() -> dict[str, Path]:
    """Map the names of packaged recipes to their files, without `bases/`, whose files exist to be extended."""
    return paths.packaged_files(folder())


def find(path_or_name: str) -> Path:
    """Find a recipe by path or packaged name."""
    return paths.find_packaged(path_or_name, packaged(), "recipe")


def load(path_or_name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe with `key.sub=value` overrides; RecipeError lists every problem."""
    return resolve(list(with_presets([*chain(find(path_or_name)), parse_assignments(overrides)])))


def loads(text: str) -> Recipe:
    """Load a recipe that `dump` wrote; RecipeError if it was edited into an invalid one."""
    return resolve([parse(text, "recipe.toml")])


def resolve(layers: list[Layer]) -> Recipe:
    """Validate the recipe that results from layers, each over those before it."""
    # an absent table becomes an empty one, so that each of its required keys is reported
    values: dict[str, Any] = {**{table: {} for table in REQUIRED}, **merge_layers(layer.values for layer in layers)}
    return validate(Recipe, values, layers, other_keys=["extends"])


def chain(path: Path, descendants: tuple[Path, ...] = ()) -> list[Layer]:
    """Read a file and all files that it extends, the root first."""
    layer = read(path)
    if "extends" not in layer.values:
        return [layer]
    extends, where = layer.values.pop("extends"), layer.where["extends",]
    if not isinstance(extends, str):
        raise RecipeError(
            f"{where}extends = {shorten(str(extends))}: must be text in quotes, a path or a packaged name"
        )
    subject = f'{where}extends = "{shorten(extends)}"'
    if reason := paths.invalid_reason(f"{extends}.toml"):
        raise RecipeError(f"{subject}: {reason}")
    base, family = find_base(extends, path), (*descendants, path)
    if base is None:
        raise RecipeError(f"{subject}: no such file beside this one, and no packaged recipe")
    if any(base.samefile(member) for member in family):
        circle = " -> ".join(str(paths.display_path(member)) for member in (*family, base))
        raise RecipeError(f"{subject}: the files extend each other in a circle: {circle}")
    if len(family) > MAX_CHAIN:
        raise RecipeError(f"{subject}: a chain of more than {MAX_CHAIN} files")
    return [*chain(base, family), layer]


def find_base(extends: str, child: Path) -> Path | None:
    """Find the file that `child` extends: relative to `child`, or a packaged name such as `bases/mnist`."""
    candidates = (child.parent / os.path.expanduser(extends), folder() / f"{extends}.toml")
    return next((path for path in candidates if path.is_file()), None)


def with_presets(layers: list[Layer]) -> Iterator[Layer]:
    """Yield each layer after the preset of the fidelity that it names; the preset `sound` comes first."""
    resolved = merge_layers(layer.values for layer in layers)
    yield Layer(preset("sound", resolved), {})
    for layer in layers:
        if "fidelity" in layer.values:
            values = preset(layer.values["fidelity"], resolved)
            yield Layer(values, dict.fromkeys(key_paths(values), layer.where["fidelity",]))
        yield layer


def merge_layers(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Lay each layer over those before it; a table that changes its kind loses the keys that the new kind lacks."""
    return reduce(lambda base, top: toml_source.merge(inheritable(base, top), top), layers, {})


def inheritable(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the keys of `base` that have no meaning for the data set, defense or adversary of `top`."""
    kept = dict(base)
    for table, kind_key in KIND_KEYS.items():
        below, above = base.get(table), top.get(table)
        if not isinstance(below, dict) or not isinstance(above, dict):
            continue
        old_kind, new_kind = below.get(kind_key), above.get(kind_key)
        if isinstance(old_kind, str) and isinstance(new_kind, str):
            lost = keys_of_kind(table, old_kind) - keys_of_kind(table, new_kind)
            kept[table] = {key: value for key, value in below.items() if key not in lost}
    return kept


def keys_of_kind(table: str, kind: str) -> set[str]:
    """Return the keys of [data], [defense] or [attack] for a data set, a defense or an adversary."""
    models: dict[str, type[Table]] = {"data": Data, "attack": Attack, "defense": DEFENSES.get(kind, Table)}
    return {key for key in models[table].model_fields if kind in KEYS_BY_KIND.get(key, (kind,))}
