"""Load a recipe with the files it extends, presets and `--set` overrides; write one as TOML."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import tomli_w

import afdctl
from afdctl import names, paths
from afdctl.errors import RecipeError
from afdctl.formatting import did_you_mean, shorten
from afdctl.recipe import toml_source, user_names
from afdctl.recipe.errors import validate
from afdctl.recipe.named_table import RECORDED, NamedTable
from afdctl.recipe.presets import preset
from afdctl.recipe.schema import Recipe
from afdctl.recipe.toml_places import key_paths
from afdctl.recipe.toml_source import Layer, parse, parse_assignments, read
from afdctl.recipe.user_names import NAMED_TABLES, with_absolute_names

PACKAGE: Final = Path(afdctl.__file__).parent
REQUIRED: Final = ("data", "model", "defense", "attack", "train")
# files that extend each other; packaged ones are up to 4
MAX_CHAIN: Final = 16
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
    """Load a recipe with overrides; RecipeError lists every problem.

    Executes the user's code that it names. A relative path is relative to the file that has it; in an override, to the
    working directory.
    """
    return resolve(list(with_presets([*chain(find(path_or_name)), override_layer(overrides)])))


def of_values(given: Recipe | Mapping[str, Any], overrides: Overrides = ()) -> Recipe:
    """Load a recipe given as a dictionary, which may have `extends`, or change some values of a loaded one."""
    changes = override_layer(overrides)
    if isinstance(given, Recipe):
        # without presets, as its values are resolved
        return resolve([as_layer(given.model_dump(mode="json", exclude_none=True), "recipe: "), changes])
    layer = with_absolute_names(as_layer(given, "recipe: "), Path.cwd())
    return resolve(
        list(with_presets([*extended(Layer(layer.values, {**layer.where, (): "recipe: "}), Path()), changes]))
    )


def override_layer(overrides: Overrides, usage: str = "key.sub=value") -> Layer:
    """Return overrides as a layer over the files; `usage` shows in a message how an assignment is written."""
    if isinstance(overrides, Mapping):
        return with_absolute_names(as_layer(overrides, "overrides: "), Path.cwd())
    return with_absolute_names(parse_assignments(overrides, usage), Path.cwd())


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


def loads(text: str, folder: Path = Path(), execute: bool = False) -> Recipe:
    """Load a recipe that `dump` wrote in `folder`; RecipeError if it was edited into an invalid one.

    Executes the user's code that it names on request only; without it, keys of that code have any value.
    """
    # without presets, because `dump` wrote every value
    return resolve([with_absolute_names(parse(text, "recipe.toml"), folder)], recorded=not execute)


def resolve(layers: list[Layer], recorded: bool = False) -> Recipe:
    """Validate the recipe that results from layers, each over those before it.

    `recorded`: as a run recorded it, so that no user code is executed.
    """
    user_code = None if recorded else user_names.execute(layers) or None
    # an absent table becomes an empty one, so that each of its required keys is reported
    values: dict[str, Any] = {**{table: {} for table in REQUIRED}, **merge_layers(layer.values for layer in layers)}
    if not recorded:
        values["user_code"] = user_code
    return validate(Recipe, values, layers, context=RECORDED if recorded else None, other_keys=["extends"])


def chain(path: Path, descendants: tuple[Path, ...] = ()) -> list[Layer]:
    """Read a file and all files that it extends, the root first."""
    layer = with_absolute_names(read(path), path.resolve().parent)
    return extended(layer, path.parent, (*descendants, path))


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
    current = "sound"
    yield Layer(preset(current, resolved), {})
    for layer in layers:
        named = layer.values.get("fidelity", current)
        # the preset in effect is not repeated, because it would replace what the layers before set
        if named != current:
            values = preset(named, resolved)
            yield Layer(values, dict.fromkeys(key_paths(values), layer.where["fidelity",]))
            current = named
        yield layer


def merge_layers(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Lay each layer over those before it; a table that changes its kind loses the keys that the new kind lacks."""
    return reduce(lambda base, top: toml_source.merge(inheritable(base, top), top), layers, {})


def inheritable(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the keys of `base` that have no meaning for the data set, defense or adversary of `top`."""
    kept = dict(base)
    for table, model in NAMED_TABLES.items():
        below, above = base.get(table), top.get(table)
        if not isinstance(below, dict) or not isinstance(above, dict):
            continue
        old_name, new_name = below.get(model.key), above.get(model.key)
        if isinstance(old_name, str) and isinstance(new_name, str) and old_name != new_name:
            lost = keys_of_name(model, old_name, below) - keys_of_name(model, new_name, above)
            kept[table] = {key: value for key, value in below.items() if key not in lost}
    return kept


def keys_of_name(table: type[NamedTable], name: str, values: Mapping[str, Any]) -> set[str]:
    """Return the keys that a table has with a name; of code that is not executed, those in `values`."""
    if not names.is_known(table.kind, name):
        return set()
    if name not in table.kind and not names.is_loaded(table.kind, name):
        return set(values)
    optional = {key for entry in table.kind.values() for key in entry.keys}
    keys = table.model_of({table.key: name}).model_fields
    return {key for key in keys if key not in optional or key in names.describe(table.kind, name).keys}


def dump(recipe: Recipe) -> str:
    """Write a recipe as TOML with every value visible, except keys that are None."""
    # TOML has no null
    values = recipe.model_dump(mode="json", exclude_none=True)
    # after the tables that a person reads
    user_code = values.pop("user_code", None)
    return tomli_w.dumps(values | ({"user_code": user_code} if user_code else {}))


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
