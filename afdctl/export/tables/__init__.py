"""The paper's tables by name, built from runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Final, cast

from afdctl.errors import NotFoundError, RecipeError
from afdctl.export.tables.base import Table
from afdctl.formatting import did_you_mean
from afdctl.runs.record import Record

# table -> module and function that builds it
BUILDERS: Final[Mapping[str, str]] = {
    "1": "attack_tables:table_1",
    "2": "attack_tables:table_2",
    "A1": "hyperparameters:build",
    "A3": "attack_tables:table_a3",
    "A4": "features:build",
    "A5": "discriminators:build",
    "cost": "cost:build",
}
# the runs that a table takes, where it does not take every run
REQUIRED_RUNS: Final[Mapping[str, str]] = {
    "A1": "a trained run",
    "A3": "a run of AT, TRADES or AFD",
    "A5": "a run of AFD",
    "cost": "a run trained here",
}
COMPARISON_NOTE: Final = "In parentheses: the published value, and ours minus the published one."
# tables that the paper prints for AFD without its variant
WITHOUT_VARIANT: Final = ("A3", "A4", "A5", "cost")
VARIANT_NOTE: Final = "The paper does not say which variant of AFD its values are for."
Build = Callable[[Sequence[Record], bool], Table]


def check_name(name: str) -> str:
    """Return the table's name as the paper writes it. Error: RecipeError with the nearest name."""
    names = {known.lower(): known for known in BUILDERS}
    if name.upper() == "A2":
        raise RecipeError("--table A2: is a suite of attacks; `afdctl suites show paper-A2` prints it")
    if name.lower() not in names:
        raise RecipeError(f"--table {name}: no such table ({did_you_mean(name, BUILDERS)})")
    return names[name.lower()]


def build(name: str, records: Sequence[Record], with_paper: bool) -> Table:
    """Build a table of the runs, with the published numbers if asked. Error: NotFoundError without a suitable run."""
    module, function = BUILDERS[name].split(":")
    table = cast(Build, getattr(import_module(f"{__name__}.{module}"), function))(records, with_paper)
    if not any(row.runs for row in table.rows):
        raise NotFoundError(f"--table {name}: needs {REQUIRED_RUNS.get(name, 'a run')}, and none is among those named")
    compared = any(cell.published is not None for row in table.rows for cell in row.cells.values())
    if not compared:
        return table
    variant = (VARIANT_NOTE,) if name in WITHOUT_VARIANT else ()
    return replace(table, notes=(*table.notes, COMPARISON_NOTE, *variant))
