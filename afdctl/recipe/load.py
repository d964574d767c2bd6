"""Load a recipe with the files it extends, presets and `--set` overrides; write one as TOML."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, reduce
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import tomli
import tomli_w

import afdctl
from afdctl import paths
from afdctl.errors import RecipeError
from afdctl.formatting import did_you_mean, shorten
from afdctl.recipe import toml_source
from afdctl.recipe.data import Data
from afdctl.recipe.defenses import DEFENSES, AdversaryConfig
from afdctl.recipe.errors import validate
from afdctl.recipe.fields import KEYS_BY_KIND, Table
from afdctl.recipe.schema import Recipe
from afdctl.recipe.toml_source import Layer, key_paths, parse, parse_assignments, read, value_at
from afdctl.registry import ENCODERS

PACKAGE: Final = Path(afdctl.__file__).parent
REQUIRED: Final = ("data", "model", "defense", "attack", "train")
# files that extend each other; packaged ones are up to 4
MAX_CHAIN: Final = 16
# table -> the key that decides which further keys the table has
KIND_KEYS: Final = {"data": "dataset", "model": "encoder", "defense": "name", "attack": "name"}

# the presets of `fidelity`: the paper, its published code and sound practice differ
PRESETS: Final = ("sound", "paper", "official")
# condition of a row of presets.toml -> the recipe's key that it compares
CONDITIONS: Final = {"dataset": ("data", "dataset"), "defense": ("defense", "name"), "game": ("defense", "game")}

# texts `key.sub=value` of the command line, or the values of a dictionary
Overrides = Sequence[str] | Mapping[str, Any]


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


def load(path_or_name: str, overrides: Overrides = ()) -> Recipe:
    """Load a recipe with overrides; RecipeError lists every problem."""
    return resolve(list(with_presets([*chain(find(path_or_name)), override_layer(overrides)])))


def of_values(given: Recipe | Mapping[str, Any], overrides: Overrides = ()) -> Recipe:
    """Load a recipe given as a dictionary, which may have `extends`, or change some values of a loaded one."""
    changes = override_layer(overrides)
    if isinstance(given, Recipe):
        # without presets, as its values are resolved
        return resolve([as_layer(given.model_dump(mode="json", exclude_none=True), "recipe: "), changes])
    layer = as_layer(given, "recipe: ")
    return resolve(
        list(with_presets([*extended(Layer(layer.values, layer.where | {(): "recipe: "}), Path()), changes]))
    )


def override_layer(overrides: Overrides) -> Layer:
    """Return overrides as a layer over the files."""
    return as_layer(overrides, "overrides: ") if isinstance(overrides, Mapping) else parse_assignments(overrides)


def as_layer(given: Mapping[str, Any], place: str) -> Layer:
    """Return the values of a dictionary, whose keys may be nested or dotted: `{"train.epochs": 5}`."""
    values: dict[str, Any] = {}
    if wrong := [key for keys in key_paths(given) for key in keys if not isinstance(key, str)]:
        raise RecipeError(f"{place}{shorten(repr(wrong[0]))}: a key must be text, such as 'train.epochs'")
    for key, value in given.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        values = toml_source.merge(values, value)
    if reason := toml_source.exceeded_limit(values):
        raise RecipeError(f"{place}{reason}")
    return Layer(values, dict.fromkeys(key_paths(values), place))


def loads(text: str) -> Recipe:
    """Load a recipe that `dump` wrote; RecipeError if it was edited into an invalid one."""
    # without presets, because `dump` wrote every value
    return resolve([parse(text, "recipe.toml")])


def resolve(layers: list[Layer]) -> Recipe:
    """Validate the recipe that results from layers, each over those before it."""
    # an absent table becomes an empty one, so that each of its required keys is reported
    values: dict[str, Any] = {**{table: {} for table in REQUIRED}, **merge_layers(layer.values for layer in layers)}
    return validate(Recipe, values, layers, other_keys=["extends"])


def chain(path: Path, descendants: tuple[Path, ...] = ()) -> list[Layer]:
    """Read a file and all files that it extends, the root first."""
    return extended(read(path), path.parent, (*descendants, path))


def extended(layer: Layer, beside: Path, family: tuple[Path, ...] = ()) -> list[Layer]:
    """Return the layers of the files that a layer extends, the root first, and the layer itself, last.

    `beside` is the folder of the layer's file; `family` is this file and those that extend it.
    """
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
    base = find_base(extends, beside)
    if base is None:
        names = [*packaged(), *(f"bases/{name}" for name in paths.packaged_files(folder() / "bases"))]
        hint = did_you_mean(extends, names, "`afdctl recipes ls` lists them")
        raise RecipeError(f"{subject}: no such file beside this one, and no packaged recipe ({hint})")
    # one file may have several paths
    if any(base.samefile(member) for member in family):
        circle = " -> ".join(str(paths.display_path(member)) for member in (*family, base))
        raise RecipeError(f"{subject}: the files extend each other in a circle: {circle}")
    if len(family) > MAX_CHAIN:
        raise RecipeError(f"{subject}: a chain of more than {MAX_CHAIN} files")
    return [*chain(base, family), layer]


def find_base(extends: str, beside: Path) -> Path | None:
    """Find the file that one in `beside` extends: relative to it, or a packaged name such as `bases/mnist`."""
    candidates = (beside / os.path.expanduser(extends), folder() / f"{extends}.toml")
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


@cache
def preset_rows() -> list[dict[str, Any]]:
    """Read the rows of `presets.toml`."""
    text = Path(__file__).with_name("presets.toml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = tomli.loads(text)["row"]
    return rows


def preset(fidelity: Any, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a fidelity sets for a recipe's data set, defense and game."""
    # validation reports an unknown name; the default's values add no further problems
    name = fidelity if fidelity in PRESETS else "sound"
    return toml_source.merge_all(row[name] for row in preset_rows() if meets_conditions(row, recipe))


def meets_conditions(row: Mapping[str, Any], recipe: Mapping[str, Any]) -> bool:
    """Whether the recipe meets each condition of a row."""
    return all(value_at(recipe, keys) in row[name] for name, keys in CONDITIONS.items() if name in row)


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
    """Return the keys of a table for a data set, an encoder, a defense or an adversary."""
    if table == "model":
        return {"width"} if kind not in ENCODERS else set(ENCODERS[kind].keys)
    models: dict[str, type[Table]] = {"data": Data, "attack": AdversaryConfig, "defense": DEFENSES.get(kind, Table)}
    return {key for key in models[table].model_fields if kind in KEYS_BY_KIND.get(key, (kind,))}


def dump(recipe: Recipe) -> str:
    """Write a recipe as TOML with every value visible, except keys that are None."""
    # TOML has no null
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def digest(recipe: Recipe) -> str:
    """Return the sha256 of the recipe's canonical JSON, in hexadecimal."""
    canonical = json.dumps(recipe.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()


def file_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe file, in which `extends` may supply every other key."""
    schema: dict[str, Any] = without_required(Recipe.model_json_schema())
    extends = {"type": "string", "description": "file to build on: relative to this one, or a packaged recipe"}
    schema["properties"] = {"extends": extends, **schema["properties"]}
    return schema


def without_required(schema: Any) -> Any:
    """Drop `required`; `oneOf` becomes `anyOf`, because a [defense] without a name matches several models."""
    if isinstance(schema, list):
        return [without_required(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # pydantic's `discriminator` is beside `oneOf`; elsewhere it is a key of the recipe
    dropped = {"required", "default", "title", *(["discriminator"] if "oneOf" in schema else [])}
    return {
        "anyOf" if key == "oneOf" else key: without_required(value)
        for key, value in schema.items()
        if key not in dropped
    }
