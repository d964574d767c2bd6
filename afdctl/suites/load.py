"""Load the attacks of a suite for a data set, with the changes of the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from afdctl import paths, registry
from afdctl.errors import AfdctlError, RecipeError
from afdctl.formatting import did_you_mean, shorten
from afdctl.recipe import toml_source
from afdctl.recipe.errors import validate
from afdctl.recipe.load import as_layer
from afdctl.recipe.toml_source import Layer, parse_assignments
from afdctl.suites.attack_config import AttackConfig, Grid
from afdctl.suites.library_attack import config_of_library
from afdctl.suites.schema import ATTACKS
from afdctl.suites.suite_file import own_attacks, suite_file
from afdctl.suites.user_attack import config_of_attack, config_of_code
from afdctl.user_code.attack_libraries import is_library_attack

DEFAULT: Final = "strong"
# two ways to give the same quantity: either of them replaces the other
STEP_KEYS: Final = {"step_size", "rel_step"}
# keys that `--set` cannot change
FIXED_KEYS: Final = {"name", "label", "datasets", "epsilons"}


@dataclass(frozen=True)
class Row:
    """One `[[attack]]` of a suite: the attack, and its values as written with their places."""

    config: AttackConfig
    source: Layer

    def matches(self, dataset: str) -> bool:
        """Whether the row names the data set."""
        return dataset in self.config.datasets

    def with_changes(self, changes: Layer) -> AttackConfig:
        """Return the attack with those changes that it has a key for."""
        own = {key: value for key, value in changes.values.items() if key in type(self.config).model_fields}
        replaced = STEP_KEYS if STEP_KEYS & own.keys() else set()
        values = {key: value for key, value in self.source.values.items() if key not in replaced} | own
        return validate(type(self.config), values, [self.source, changes], table=self.config.title)

    def changed_keys(self, config: AttackConfig) -> tuple[str, ...]:
        """Return the keys whose values differ in the changed attack."""
        return tuple(key for key in type(config).model_fields if getattr(config, key) != getattr(self.config, key))


@dataclass(frozen=True)
class Suite:
    """The attacks on one data set; `changed` has, by title, the settings that the command line changed."""

    name: str
    attacks: tuple[AttackConfig, ...]
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def changes(self, config: AttackConfig) -> tuple[str, ...]:
        """Return the settings of an attack that differ from the suite's."""
        return self.changed.get(config.title, ())


def packaged() -> dict[str, Path]:
    """Map the names of packaged suites to their files."""
    return paths.packaged_files(Path(__file__).parent)


def find(path_or_name: str) -> Path:
    """Find a suite by path or packaged name."""
    return paths.find_packaged(path_or_name, packaged(), "suite")


def load(
    path_or_name: str,
    dataset: str,
    *,
    attacks: Sequence[str] = (),
    epsilons: Grid | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    options: tuple[str, str] = ("--attacks", "--epsilons"),
) -> Suite:
    """Load a suite's attacks for a data set; RecipeError lists every problem.

    `attacks` selects by title, and may name attacks that the suite lacks; `epsilons` replaces every grid, and
    `overrides` (texts key=value, or a mapping) changes all selected attacks that have the key. `options` name the first
    two in messages.
    """
    path = find(path_or_name)
    rows = {row.config.title: row for row in applicable(read(path), dataset)}
    selected = [rows.get(title) or default_row(title, rows, epsilons, options) for title in dict.fromkeys(attacks)]
    selected = selected or list(rows.values())
    if not selected:
        remedy = "choose another --suite, or name attacks with --attacks"
        raise RecipeError(f"{paths.display_path(path)}: has no attack for {dataset}; {remedy}")
    titles = [row.config.title for row in selected]
    if twice := [title for title in titles if titles.count(title) > 1]:
        raise RecipeError(f"{options[0]}: two attacks have the name {twice[0]}; give one a `label`")
    changes = changes_of(overrides, selected, epsilons, options[1])
    configs = tuple(row.with_changes(changes) for row in selected)
    if epsilons is not None and len(norms := {config.norm for config in configs}) > 1:
        names = " and ".join(sorted(norms))
        raise RecipeError(f"{options[1]}: one grid cannot serve the norms {names}; select attacks with {options[0]}")
    changed = {row.config.title: row.changed_keys(config) for row, config in zip(selected, configs, strict=True)}
    return Suite(path.stem, configs, changed)


def read(path: Path) -> list[Row]:
    """Read and validate every row of a file."""
    source = toml_source.read(path)
    suite = validate(suite_file(own_attacks(source, path.parent)), source.values, [source])
    rows = [Row(config, source.table("attack", index)) for index, config in enumerate(suite.attack)]
    check_duplicates(rows, [source.where.get(("attack", index), source.where[()]) for index in range(len(rows))])
    return rows


def check_duplicates(rows: Sequence[Row], places: Sequence[str]) -> None:
    """Refuse two rows with one title for one data set, because only one of them could run."""
    place_of: dict[tuple[str, str], str] = {}
    for row, place in zip(rows, places, strict=True):
        title = row.config.title
        for dataset in row.config.datasets or [""]:
            if first := place_of.get((title, dataset)):
                raise RecipeError(f"{place}{title}: is also defined at {first.rstrip(': ')}; give one of them a label")
            place_of[title, dataset] = place


def applicable(rows: Sequence[Row], dataset: str) -> list[Row]:
    """Return one row per title: the one that names the data set, else the one that names none."""
    specific = {row.config.title: row for row in rows if row.matches(dataset)}
    chosen = {
        row.config.title: specific.get(row.config.title, row)
        for row in rows
        if row.config.title in specific or not row.config.datasets
    }
    return list(chosen.values())


def default_row(title: str, rows: Mapping[str, Row], epsilons: Grid | None, options: tuple[str, str]) -> Row:
    """Return a row for an attack that the suite lacks: default settings, on the suite's grid for the attack's norm."""
    config = ATTACKS.get(title) or own_attack(title, rows, options[0])
    if config.user_attack:
        title = get_args(config.model_fields["name"].annotation)[0]
    # any valid grid serves: only the default norm is read
    norm = config(name=title, epsilons=(0.0, 1.0)).norm
    grids = [row.config.epsilons for row in rows.values() if row.config.norm == norm]
    grid = next(iter(grids), epsilons)
    if grid is None:
        raise RecipeError(f"{options[0]} {title}: the suite has no grid for norm {norm}; name {options[1]}")
    values = {"name": title, "epsilons": list(grid)}
    source = Layer(values, {("epsilons",): f"{options[1]}: "})
    return Row(validate(config, values, [source], table=config.default_title or title), source)


def own_attack(name: str, rows: Mapping[str, Row], option: str) -> type[AttackConfig]:
    """Load an attack of a library, or a user's, that an option names, relative to the working directory."""
    if is_library_attack(name):
        try:
            return config_of_library(name)
        except AfdctlError as error:
            raise type(error)(f"{option} {error}") from None
    try:
        resolved = registry.resolve(registry.ATTACKS, name, Path.cwd())
    except RecipeError as error:
        if registry.is_code(name):
            raise RecipeError(f"{option} {error}") from None
        hint = did_you_mean(name, dict.fromkeys([*rows, *ATTACKS]))
        hint += "; name a function too, such as my.py:attack" if name.endswith(".py") else ""
        raise RecipeError(f"{option} {shorten(name)}: no such attack ({hint})") from None
    return config_of_code(resolved)


def of_function(found: Any, epsilons: Grid, settings: Mapping[str, Any]) -> AttackConfig:
    """Return a function or class of the caller's own program as an attack. Error: RecipeError."""
    name = getattr(found, "__name__", type(found).__name__)
    try:
        config = config_of_attack(found, name=name, attribute=name)
    except ValueError as error:
        raise RecipeError(f"attack {name}: {error}") from None
    values = {"name": name, "epsilons": list(epsilons), **settings}
    where = {**as_layer(settings, "settings: ").where, ("epsilons",): "epsilon: "}
    return validate(config, values, [Layer(values, where)], table=name)


def changes_of(
    overrides: Sequence[str] | Mapping[str, Any], rows: Sequence[Row], epsilons: Grid | None, grid_option: str
) -> Layer:
    """Return the changes of `--set` and `--epsilons`; each key of `--set` must be one of a selected attack."""
    if isinstance(overrides, Mapping):
        changes = as_layer(overrides, "settings: ")
    else:
        changes = parse_assignments(overrides, "key=value, such as --set steps=100")
    known = [
        key
        for key in dict.fromkeys(key for row in rows for key in type(row.config).model_fields)
        if key not in FIXED_KEYS
    ]
    for key in changes.values:
        if key not in known:
            raise RecipeError(
                f"{changes.where[key,]}{shorten(key)}: no selected attack has this key ({did_you_mean(key, known)})"
            )
    if epsilons is None:
        return changes
    return Layer(changes.values | {"epsilons": list(epsilons)}, {**changes.where, ("epsilons",): f"{grid_option}: "})
