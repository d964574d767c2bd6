"""From a profile's name or file, a data set and the command line's wishes to the attacks that a sweep runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import tomli
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from afdctl import paths
from afdctl.errors import RecipeError
from afdctl.paths import shortened
from afdctl.recipe.errors import words
from afdctl.recipe.fields import suggestion
from afdctl.recipe.toml_source import extreme, parse, read_text, shown, statements, toml_value
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.epsilon_grid import Grid
from afdctl.suites.schema import ATTACKS

DEFAULT: Final = "strong"
STEPS: Final = ("step_size", "rel_step")
"""Two ways to say the same."""


@dataclass(frozen=True)
class Row:
    """One `[[attack]]` of a file: its values, and where the table and each of its keys stand."""

    values: Mapping[str, Any]
    lines: Mapping[str, str]

    @property
    def at(self) -> str:
        """Where the table begins."""
        return self.lines[""]

    @property
    def title(self) -> str:
        return shortened(str(self.values.get("label", self.values.get("name"))))

    def having(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the changes that are knobs of this attack."""
        return {key: value for key, value in changes.items() if key in ATTACKS[self.values["name"]].model_fields}

    def with_changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The row's values with changes of its knobs; a step that is given replaces the row's, absolute or relative."""
        replaced = STEPS if any(step in changes for step in STEPS) else ()
        return {key: value for key, value in self.values.items() if key not in replaced} | dict(changes)

    def fits(self, dataset: str) -> bool:
        """Whether the row names the data set."""
        return dataset in self.values.get("datasets", ())


@dataclass(frozen=True)
class Suite:
    """What is run on one data set; `changed` has, by title, the settings that the command line changed."""

    name: str
    attacks: tuple[AttackConfig, ...]
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def changes(self, spec: AttackConfig) -> tuple[str, ...]:
        """The settings of an attack that are not the profile's own."""
        return self.changed.get(spec.title, ())


def packaged() -> dict[str, Path]:
    """Name -> file of every packaged profile."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}


def load(
    path_or_name: str,
    dataset: str,
    *,
    attacks: Sequence[str] = (),
    epsilons: Grid | None = None,
    overrides: Sequence[str] = (),
    options: tuple[str, str] = ("--attacks", "--epsilons"),
) -> Suite:
    """The profile's attacks for a data set; RecipeError names every mistake.

    `attacks` chooses by title, and may name attacks that the profile lacks; `epsilons` replaces every grid, and
    `overrides` (key=value) sets knobs of all chosen attacks that have them. `options` are where the two came from.
    """
    path = find(path_or_name)
    offered = {row.title: row for row in rows_for(read(path), dataset)}
    chosen = [offered.get(title) or default_row(title, offered, options[0]) for title in dict.fromkeys(attacks)]
    chosen = chosen or list(offered.values())
    if not chosen:
        raise RecipeError(f"{shown(path)}: has no attack for {dataset}; choose another --profile, or name --attacks")
    changes = assignments(overrides, chosen)
    grid = {} if epsilons is None else {"epsilons": list(epsilons)}
    specs = tuple(spec(row, row.having(changes) | grid, options[1]) for row in chosen)
    if epsilons is not None and len(norms := {one.norm for one in specs}) > 1:
        raise RecipeError(
            f"{options[1]}: one grid cannot serve the norms {' and '.join(sorted(norms))}; name --attacks"
        )
    changed = {one.title: changed_settings(row, one, grid) for row, one in zip(chosen, specs, strict=True)}
    return Suite(path.stem, specs, changed)


def find(path_or_name: str) -> Path:
    """The file that a user means: a path, or the name of a packaged profile."""
    path, known = paths.path(path_or_name), packaged()
    if path.is_file():
        return path
    if path_or_name in known:
        return known[path_or_name]
    if path.exists():
        # a folder, a pipe or a device, which reading refuses by its kind
        return path
    raise RecipeError(
        f"--profile {shortened(path_or_name)}: no such profile or file ({suggestion(path_or_name, list(known))})"
    )


def read(path: Path) -> list[Row]:
    """Every row of a file, each checked."""
    source = str(shown(path))
    text = read_text(path, source)
    values = parse(text, source).values
    if unknown := [key for key in values if key not in ("title", "attack")]:
        raise RecipeError(
            f"{source}: {shortened(unknown[0])}: no such key; a profile has a title and [[attack]] tables"
        )
    tables, at = values.get("attack", []), places(text, source)
    if not isinstance(tables, list) or not tables or len(at) != len(tables):
        raise RecipeError(f"{source}: has no [[attack]] table (two brackets); it says what to run")
    rows = [Row(table, lines) for table, lines in zip(tables, at, strict=True)]
    for row in rows:
        spec(row, {})
    check_duplicates(rows)
    return rows


def check_duplicates(rows: Sequence[Row]) -> None:
    """Two rows of one title for one data set: only one of them could be run."""
    seen: dict[tuple[str, str], Row] = {}
    for row in rows:
        for dataset in row.values.get("datasets") or [""]:
            if twin := seen.get((row.title, dataset)):
                raise RecipeError(
                    f"{row.at}{row.title}: stands at {twin.at.rstrip(': ')} too; give one of them a label"
                )
            seen[row.title, dataset] = row


def places(text: str, source: str) -> list[dict[str, str]]:
    """For each `[[attack]]`, where it and its keys stand: `{"": "x.toml:3: ", "name": "x.toml:4: "}`."""
    found: list[dict[str, str]] = []
    for line, statement in statements(text):
        key = next(iter(tomli.loads(statement)), None)
        if statement.lstrip().startswith("[["):
            found.append({"": f"{source}:{line}: "})
        elif found and key is not None:
            found[-1][key] = f"{source}:{line}: "
    return found


def rows_for(rows: Sequence[Row], dataset: str) -> list[Row]:
    """One row a title: the one that names the data set, else the one that names none."""
    named = {row.title: row for row in rows if row.fits(dataset)}
    chosen: dict[str, Row] = {}
    for row in rows:
        if row.title in named:
            chosen[row.title] = named[row.title]
        elif not row.values.get("datasets"):
            chosen[row.title] = row
    return list(chosen.values())


def default_row(title: str, offered: Mapping[str, Row], option: str) -> Row:
    """A row for an attack that the profile lacks: its own defaults, on the profile's grid for its norm."""
    if title not in ATTACKS:
        known = list(dict.fromkeys([*offered, *ATTACKS]))
        raise RecipeError(f"{option} {shortened(title)}: no such attack ({suggestion(title, known)})")
    values: dict[str, Any] = {"name": title}
    norm = ATTACKS[title](name=title, epsilons=(0.0, 1.0)).norm
    grids = [row.values["epsilons"] for row in offered.values() if spec(row, {}).norm == norm]
    if grids:
        values["epsilons"] = grids[0]
    return Row(values, {"": f"{option} {title}: "})


def assignments(overrides: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    """Knobs of `--set key=value`, each of which some row's attack must have."""
    changes = {}
    fields = dict.fromkeys(key for row in rows for key in ATTACKS[row.values["name"]].model_fields)
    knobs = [key for key in fields if key not in ("name", "label", "datasets", "epsilons")]
    for text in overrides:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key:
            raise RecipeError(f"--set {shortened(text)}: write --set key=value, such as --set steps=100")
        if key not in knobs:
            raise RecipeError(f"--set {shortened(text)}: no chosen attack has such a knob ({suggestion(key, knobs)})")
        changes[key] = toml_value(value)
        if reason := extreme({key: changes[key]}):
            raise RecipeError(f"--set {reason}")
    return changes


def spec(row: Row, changes: Mapping[str, Any], grid_option: str = "--epsilons") -> AttackConfig:
    """The attack of a row, with the command line's changes."""
    name = row.values.get("name")
    if name is None:
        raise RecipeError(f"{row.at}attack: has no name; add one of: {', '.join(ATTACKS)}")
    if not isinstance(name, str) or name not in ATTACKS:
        where = row.lines.get("name", row.at)
        raise RecipeError(
            f'{where}name = "{shortened(str(name))}": no such attack ({suggestion(str(name), list(ATTACKS))})'
        )
    try:
        return ATTACKS[name].model_validate(row.with_changes(changes))
    except ValidationError as error:
        raise RecipeError(
            "\n".join(problem(details, row, changes, grid_option) for details in error.errors())
        ) from None


def changed_settings(row: Row, made: AttackConfig, grid: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings of an attack that differ from its row's; a row without a grid takes the `grid` that is given."""
    own = spec(row, {} if "epsilons" in row.values else grid)
    return tuple(key for key, value in own.model_dump().items() if getattr(made, key) != value)


def problem(details: ErrorDetails, row: Row, changes: Mapping[str, Any], grid_option: str) -> str:
    """One problem of a row: `my.toml:7: pgd_linf: steps = 0: must be at least 1`."""
    key = str(details["loc"][0]) if details["loc"] else ""
    known = list(ATTACKS[row.values["name"]].model_fields)
    set_by = grid_option if key == "epsilons" else "--set"
    at = f"{set_by}: " if key in changes else row.lines.get(key, row.at)
    if details["type"] == "extra_forbidden":
        return f"{at}{row.title}: {shortened(key)}: no such key ({suggestion(key, known)})"
    if details["type"] == "missing":
        return f"{at}{row.title}: {key}: missing; add it" + (f", or name {grid_option}" if key == "epsilons" else "")
    value = row.with_changes(changes).get(key)
    subject = f"{key} = {shortened(str(value))}: " if key else ""
    return f"{at}{row.title}: {subject}{words(details, details['input'])}"
