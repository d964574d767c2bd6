"""The paper's tables, built from runs."""

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
RUNS: Final[Mapping[str, str]] = {
    "A1": "a trained run",
    "A3": "a run of AT, TRADES or AFD",
    "A5": "a run of AFD",
    "cost": "a run trained here",
}
IN_BRACKETS: Final = (
    "In brackets: the paper's figure, and how far ours is from it. Where it says AFD, it names no game."
)
Build = Callable[[Sequence[Record], bool], Table]


def check(name: str) -> str:
    """Return the table's name as the paper writes it. Error: RecipeError with the nearest name."""
    names = {known.lower(): known for known in BUILDERS}
    if name.upper() == "A2":
        raise RecipeError("--table A2: is an attack suite; `afdctl suites show paper-A2` prints it")
    if name.lower() not in names:
        raise RecipeError(f"--table {name}: no such table ({did_you_mean(name, list(BUILDERS))})")
    return names[name.lower()]


def build(name: str, records: Sequence[Record], with_paper: bool) -> Table:
    """Build a table of the runs, with the published numbers where wanted. Error: NotFoundError for no fitting run."""
    module, function = BUILDERS[name].split(":")
    table = cast(Build, getattr(import_module(f"{__name__}.{module}"), function))(records, with_paper)
    if not any(row.runs for row in table.rows):
        raise NotFoundError(f"--table {name}: is of {RUNS.get(name, 'runs')}, and none is among those named")
    compared = any(cell.published is not None for row in table.rows for cell in row.cells.values())
    return replace(table, notes=(*table.notes, IN_BRACKETS)) if compared else table
