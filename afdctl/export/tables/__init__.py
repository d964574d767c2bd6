"""The paper's tables, made from runs. Names of other modules here: one a table, and one a format."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Final, cast

from afdctl.errors import NotFoundError, RecipeError
from afdctl.export.tables.table import Table
from afdctl.recipe.values import suggestion
from afdctl.store.record import Record

MODULES: Final[Mapping[str, str]] = {
    "1": "accuracy", "2": "areas", "A1": "hyperparameters", "A3": "transfer", "A4": "features", "A5": "discriminators",
    "cost": "cost",
}  # fmt: skip
OF: Final[Mapping[str, str]] = {
    "A1": "a trained run", "A3": "a run of AT, TRADES or AFD", "A5": "a run of AFD", "cost": "a run trained here",
}  # fmt: skip
"""What a table is of, where it is not of every run."""
IN_BRACKETS: Final = (
    "In brackets: the paper's figure, and how far ours is from it. Where it says AFD, it names no game."
)
Build = Callable[[Sequence[Record], bool], Table]


def check(name: str) -> str:
    """The table's name as the paper writes it. Error: RecipeError, with the nearest one."""
    names = {known.lower(): known for known in MODULES}
    if name.upper() == "A2":
        raise RecipeError("--table A2: is a profile of attacks; `afdctl profiles show paper-A2` prints it")
    if name.lower() not in names:
        raise RecipeError(f"--table {name}: no such table ({suggestion(name, list(MODULES))})")
    return names[name.lower()]


def build(name: str, records: Sequence[Record], with_paper: bool) -> Table:
    """Table `name` of the runs. Error: NotFoundError where none of them belongs there."""
    made = cast(Build, import_module(f"{__name__}.{MODULES[name]}").build)(records, with_paper)
    if not any(row.runs for row in made.rows):
        raise NotFoundError(f"--table {name}: is of {OF.get(name, 'runs')}, and none is among those named")
    compared = any(cell.published is not None for row in made.rows for cell in row.cells.values())
    return replace(made, notes=(*made.notes, IN_BRACKETS)) if compared else made
