"""`afdctl runs ls`: the runs of a folder with their main figures."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdctl.cli.runs import options
from afdctl.errors import RecipeError
from afdctl.profile.grid import name_of
from afdctl.profile.norms import NORMS

if TYPE_CHECKING:
    from rich.table import Table

    from afdctl.cli.runs.choosing import Row

WHERE = typer.Option(
    metavar="CONDITION",
    help="Only runs with dataset=mnist, method!=NT, name~wgan (contains), clean>0.9 or defense.lr_F<1; repeatable.",
)
SORT = typer.Option(
    metavar="KEY", help="By a key of --json, such as clean, aa or size, or of the recipe; the oldest first by default."
)
REVERSE = typer.Option("--reverse", help="The other way round.")

NOTE = (
    "In %, on the test split; in brackets: still in training, on the hold-out. n: images, where not the whole split. "
    "PGD: no AutoAttack. AA: AutoAttack."
)
FIGURES = ("clean", "pgd")
SHOWN = ("run", "data set", "method", "state", "epoch", "clean", "PGD", "AA", "written", "size")


def ls(
    folder: options.Folder = Path("runs"),
    where: Annotated[list[str] | None, WHERE] = None,
    sort: Annotated[str | None, SORT] = None,
    reverse: Annotated[bool, REVERSE] = False,
    as_json: options.Json = False,
) -> None:
    """List runs: data set, method, state, epochs, accuracies, time, size on disk. A damaged run is listed as such."""
    from afdctl.cli.runs import choosing

    conditions = [choosing.condition(text) for text in where or []]
    rows = choosing.arrange(_rows(folder), conditions, sort, reverse=reverse)
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", "runs": [row.overview for row in rows]}))
    elif rows:
        _print([row.overview for row in rows])
    else:
        which = "with all of that" if where else "here; start one with `afdctl train`, or name the folder with --runs"
        typer.echo(f"{folder}: no run {which}", err=True)


def _rows(folder: Path) -> "list[Row]":
    from afdctl.cli.runs.choosing import Row
    from afdctl.store.overview import glance
    from afdctl.store.run import Run

    if not folder.is_dir() and folder != Path("runs"):
        raise RecipeError(f"--runs {folder}: no such folder")
    glances = [glance(run) for run in Run.all(folder)]
    return [
        Row(overview.as_json(), record.recipe.model_dump(mode="json") if record and record.recipe else {})
        for overview, record in glances
    ]


def _print(runs: list[dict[str, Any]]) -> None:
    from afdctl.cli.accuracies import Stdout

    console = Stdout()
    console.print_fitting(lambda optional: _table(runs, optional), 3)
    if any(run["clean"] is not None for run in runs):
        console.print(NOTE, soft_wrap=True)
    for run in runs:
        if run["damage"]:
            typer.echo(f"warning: {run['name']}: {run['damage']}", err=True)
        for line in run["warnings"]:
            typer.echo(f"warning: {run['name']}: {line}", err=True)


def _table(runs: list[dict[str, Any]], optional: int) -> "Table":
    """The table; with less room without size, then time, then data set."""
    from rich.table import Table

    left_out = ("size", "written", "data set")[: 3 - optional]
    table = Table()
    for heading in SHOWN:
        if heading not in left_out:
            right = heading in ("epoch", "clean", "PGD", "size")
            table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for run in runs:
        cells = dict(zip(SHOWN, _cells(run), strict=True))
        table.add_row(*(cell for heading, cell in cells.items() if heading not in left_out))
    return table


def _of(n: int | None) -> str:
    """How many images a result is of, where these are not the whole split."""
    return "" if n is None else f" n={n}"


def _cells(run: dict[str, Any]) -> tuple[str, ...]:
    epoch = "" if run["epoch"] is None else f"{run['epoch']}/{run['epochs']}"
    brackets = "({})" if run["split"] == "validation" else "{}"
    clean, pgd = (
        brackets.format(options.percent(run[key])) + _of(run[f"{key}_n"]) if run[key] is not None else ""
        for key in ("clean", "pgd")
    )
    at = "" if run["aa"] is None else f" at {name_of(run['aa_epsilon'])} {NORMS[run['aa_norm']]}"
    aa = f"{options.percent(run['aa'])}{at}{_of(run['aa_n'])}"
    written, size = options.minute(run["written"]), options.bytes_in_words(run["size"] or 0)
    return run["name"], run["dataset"] or "", run["method"] or "", run["state"], epoch, clean, pgd, aa, written, size
