"""From a profile's name or file, a data set and the command line's wishes to the attacks that a sweep runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomli
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from afdctl.errors import RecipeError
from afdctl.profile.grid import Grid
from afdctl.profile.schema import ATTACKS
from afdctl.profile.spec import Spec
from afdctl.recipe.find import shown
from afdctl.recipe.locate import statements
from afdctl.recipe.parse import parse, toml_value
from afdctl.recipe.report import words
from afdctl.recipe.values import suggestion

DEFAULT: Final = "strong"


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
        return str(self.values.get("label", self.values.get("name")))

    def fits(self, dataset: str) -> bool:
        """Whether the row names the data set."""
        return dataset in self.values.get("datasets", ())


@dataclass(frozen=True)
class Profile:
    """What is run on one data set."""

    name: str
    attacks: tuple[Spec, ...]


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
) -> Profile:
    """The profile's attacks for a data set; RecipeError names every mistake.

    `attacks` chooses by title, and may name attacks that the profile lacks; `epsilons` replaces every grid, and
    `overrides` (key=value) sets knobs, of all attacks that are chosen.
    """
    path = find(path_or_name)
    offered = {row.title: row for row in rows_for(read(path), dataset)}
    chosen = [offered.get(title) or foreign(title, offered) for title in attacks] if attacks else list(offered.values())
    if not chosen:
        raise RecipeError(f"{shown(path)}: has no attack for {dataset}; choose another --profile, or name --attacks")
    changes = assignments(overrides) | ({} if epsilons is None else {"epsilons": list(epsilons)})
    specs = tuple(spec(row, changes) for row in chosen)
    if epsilons is not None and len(norms := {one.norm for one in specs}) > 1:
        raise RecipeError(f"--epsilons: one grid cannot serve the norms {' and '.join(sorted(norms))}; name --attacks")
    return Profile(path.stem, specs)


def find(path_or_name: str) -> Path:
    """The file that a user means: a path, or the name of a packaged profile."""
    path, known = Path(path_or_name), packaged()
    if path.is_file():
        return path
    if path_or_name in known:
        return known[path_or_name]
    raise RecipeError(f"--profile {path_or_name}: no such profile or file ({suggestion(path_or_name, list(known))})")


def read(path: Path) -> list[Row]:
    """Every row of a file, each checked."""
    source = str(shown(path))
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{source}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None
    values = parse(text, source).values
    if unknown := [key for key in values if key not in ("title", "attack")]:
        raise RecipeError(f"{source}: {unknown[0]}: no such key; a profile has a title and [[attack]] tables")
    tables = values.get("attack", [])
    if not isinstance(tables, list) or not tables:
        raise RecipeError(f"{source}: has no [[attack]] table (two brackets); it says what to run")
    rows = [Row(table, lines) for table, lines in zip(tables, places(text, source), strict=True)]
    for row in rows:
        spec(row, {})
    return rows


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


def foreign(title: str, offered: Mapping[str, Row]) -> Row:
    """A row for an attack that the profile lacks: its own defaults, on the profile's grid for its norm."""
    if title not in ATTACKS:
        raise RecipeError(f"--attacks {title}: no such attack ({suggestion(title, [*offered, *ATTACKS])})")
    values: dict[str, Any] = {"name": title}
    norm = ATTACKS[title](name=title, epsilons=(0.0, 1.0)).norm
    grids = [row.values["epsilons"] for row in offered.values() if spec(row, {}).norm == norm]
    if grids:
        values["epsilons"] = grids[0]
    return Row(values, {"": f"--attacks {title}: ", "epsilons": f"--attacks {title}: "})


def assignments(overrides: Sequence[str]) -> dict[str, Any]:
    """Knobs of `--set key=value`."""
    changes = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {text}: write --set key=value, such as --set steps=100")
        changes[key.strip()] = toml_value(value.strip())
    return changes


def spec(row: Row, changes: Mapping[str, Any]) -> Spec:
    """The attack of a row, with the command line's changes."""
    name = row.values.get("name")
    if name is None:
        raise RecipeError(f"{row.at}attack: has no name; add one of: {', '.join(ATTACKS)}")
    if name not in ATTACKS:
        where = row.lines.get("name", row.at)
        raise RecipeError(f'{where}name = "{name}": no such attack ({suggestion(str(name), list(ATTACKS))})')
    try:
        return ATTACKS[name].model_validate({**row.values, **changes})
    except ValidationError as error:
        raise RecipeError("\n".join(problem(details, row, changes) for details in error.errors())) from None


def problem(details: ErrorDetails, row: Row, changes: Mapping[str, Any]) -> str:
    """One problem of a row: `my.toml:7: pgd_linf: steps = 0: must be at least 1`."""
    key = str(details["loc"][0]) if details["loc"] else ""
    known = list(ATTACKS[row.values["name"]].model_fields)
    at = f"--{'epsilons' if key == 'epsilons' else 'set'}: " if key in changes else row.lines.get(key, row.at)
    if details["type"] == "extra_forbidden":
        return f"{at}{row.title}: {key}: no such key ({suggestion(key, known)})"
    if details["type"] == "missing":
        return f"{at}{row.title}: {key}: missing; add it" + (", or name --epsilons" if key == "epsilons" else "")
    value = {**row.values, **changes}.get(key)
    subject = f"{key} = {value}: " if key else ""
    return f"{at}{row.title}: {subject}{words(details, details['input'])}"
