"""`afdctl runs ls`: the runs of a folder with their main metrics."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from afdctl.cli import options
from afdctl.errors import NotFoundError, RecipeError
from afdctl.formatting import (
    NORM_LABELS,
    did_you_mean,
    format_bytes,
    format_epsilon,
    format_images,
    format_minute,
    format_percent,
)

if TYPE_CHECKING:
    from rich.table import Table

    from afdctl.runs.record import Record

WHERE = typer.Option(
    metavar="KEY=VALUE",
    help="List only runs with this value, such as dataset=mnist or attack.epsilon=8/255; repeatable.",
)
SORT = typer.Option(
    metavar="KEY",
    help="Sort by a key of --json, such as clean, aa or size, or of the recipe. Default: the oldest run first.",
)

NOTE: Final = (
    "In %, on the test split; in brackets: on the hold-out split, during the training, under the probe or APGD-CE. n: "
    "number of images, in the heading if it is that of the whole column, else in column n in the order of the columns. "
    "Probe, APGD-CE, PGD: no AutoAttack. AA: AutoAttack."
)
ALARM_NOTE: Final = "!: the training raised alarms; `afdctl runs show RUN` prints them."
# columns of accuracies, each with its key in the summary
ACCURACIES: Final = {"clean": "clean", "PGD": "pgd", "AA": "aa"}
COLUMNS: Final = ("run", "data set", "method", "state", "epoch", *ACCURACIES, "n", "written", "size")
# a longer name may be folded
NAME_WIDTH: Final = 14
# left out in this order where they have no room
OPTIONAL: Final = ("size", "written", "data set", "n", "method")


class Row(NamedTuple):
    """A run's summary, every value it can be selected by (the summary's and the recipe's), and its record."""

    summary: dict[str, Any]
    values: dict[str, Any]
    record: "Record | None"


def ls(
    folder: options.Runs = Path("runs"),
    where: Annotated[list[str] | None, WHERE] = None,
    sort: Annotated[str | None, SORT] = None,
    as_json: options.Json = False,
) -> None:
    """List runs: data set, method, state, epochs, accuracies, time, size on disk. Damaged runs are listed too."""
    listed = select(rows(folder), where or [], sort)
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", "runs": [row.summary for row in listed]}))
    elif listed:
        _print([row.summary for row in listed])
    else:
        reason = "matches" if where else "here; start one with `afdctl train`, or name another folder with --runs"
        typer.echo(f"{folder}: no run {reason}", err=True)


def rows(folder: Path) -> list[Row]:
    """Return a row for each run of a folder, the oldest first. Error: NotFoundError."""
    from afdctl.runs.provenance import flattened
    from afdctl.runs.run import Run
    from afdctl.runs.summary import quick_summary

    # before the first training there is no `runs`, which is no mistake; a folder that the user names must exist
    if not folder.is_dir() and folder != Path("runs"):
        raise NotFoundError(f"--runs {folder}: no such folder")
    found = []
    for run_summary, record in map(quick_summary, Run.all(folder)):
        recipe = record.recipe.model_dump(mode="json") if record and record.recipe else {}
        summary = run_summary.as_json()
        # where both have a key, such as a name, --where means the one that is shown
        found.append(Row(summary=summary, values=flattened(recipe) | summary, record=record))
    return found


def select(rows: list[Row], where: list[str], sort: str | None) -> list[Row]:
    """Return the rows that match every --where, sorted; rows without the value come last."""
    keys = sorted({key for row in rows for key in row.values})
    for condition in where:
        key, equals, text = condition.partition("=")
        if not key or not equals:
            raise RecipeError(f"--where {condition}: write KEY=VALUE, such as dataset=mnist")
        _check_key("--where", key, keys)
        rows = [row for row in rows if _equal(row.values.get(key), text)]
    if sort:
        _check_key("--sort", sort, keys)
        rows = sorted(rows, key=lambda row: _sort_key(row.values.get(sort)))
    return rows


def _check_key(option: str, key: str, keys: list[str]) -> None:
    # without a run, no key is known
    if keys and key not in keys:
        hint = did_you_mean(key, keys, "see `afdctl runs ls --json` and `afdctl recipes show`")
        raise RecipeError(f"{option} {key}: no such key; {hint}")


def _equal(value: Any, text: str) -> bool:
    """Whether a value equals a text, case ignored; a number may be written as a fraction such as 8/255."""
    # TOML's `true` is Python's `True`
    if value is None or isinstance(value, bool | str):
        return value is not None and str(value).lower() == text.lower()
    if isinstance(value, int | float):
        numerator, slash, denominator = text.partition("/")
        try:
            # 8/255 has no exact decimal, and a recipe may hold a rounded one
            return abs(value - float(numerator) / float(denominator if slash else 1)) < 1e-9
        except (ValueError, ZeroDivisionError):
            return False
    return str(value) == text


def _sort_key(value: Any) -> tuple[int, float, str]:
    """Return a key that sorts numbers before texts, and missing values last."""
    if value is None:
        return (2, 0.0, "")
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value).lower())


def _print(runs: list[dict[str, Any]]) -> None:
    from afdctl.cli.console import TableConsole

    console = TableConsole()
    console.print_dropping_columns(lambda optional: _table(runs, optional), len(OPTIONAL))
    if any(run["clean"] is not None for run in runs):
        console.print(NOTE, soft_wrap=True)
    if any(run["alarms"] for run in runs):
        console.print(ALARM_NOTE, soft_wrap=True)
    for run in runs:
        if run["damage"]:
            typer.echo(f"warning: {run['name']}: {run['damage']}", err=True)
        for line in run["warnings"]:
            typer.echo(f"warning: {run['name']}: {line}", err=True)


def _table(runs: list[dict[str, Any]], optional: int) -> "Table":
    """Return the table with the last `optional` of the OPTIONAL columns."""
    from rich.table import Table

    counts = {heading: {run[f"{key}_n"] for run in runs if run[key] is not None} for heading, key in ACCURACIES.items()}
    differing = [ACCURACIES[heading] for heading, numbers in counts.items() if len(numbers) > 1]
    dropped = {*OPTIONAL[: len(OPTIONAL) - optional], *(() if differing else ("n",))}
    table = Table()
    for heading in COLUMNS:
        if heading not in dropped:
            numbers = counts.get(heading, set()) - {None}
            n = f"\nn={format_images(*numbers)}" if len(numbers) == 1 and ACCURACIES[heading] not in differing else ""
            right = heading in ("epoch", "clean", "PGD", "n", "size")
            # a long name is folded, so that the metrics keep their room
            name = heading == "run"
            table.add_column(
                heading + n,
                justify="right" if right else "left",
                no_wrap=not name,
                min_width=NAME_WIDTH if name else None,
                overflow="fold" if name else "ellipsis",
            )
    for run in runs:
        cells = _cells(run, differing)
        table.add_row(*(cell for heading, cell in zip(COLUMNS, cells, strict=True) if heading not in dropped))
    return table


def _cells(run: dict[str, Any], differing: list[str]) -> tuple[str, ...]:
    """Format a run's row; the accuracies in `differing` have their numbers of images in column n."""
    epoch = "" if run["epoch"] is None else f"{run['epoch']}/{run['epochs']}"
    brackets = "({})" if run["split"] == "validation" else "{}"
    # the probe is what selects the best epoch
    shown = (run["clean"], run["pgd"] if run["probe"] is None else run["probe"])
    clean, pgd = (brackets.format(format_percent(accuracy)) if accuracy is not None else "" for accuracy in shown)
    aa = ""
    if run["aa"] is not None:
        epsilon = f"{format_epsilon(run['aa_epsilon'])} {NORM_LABELS[run['aa_norm']]}"
        aa = f"{format_percent(run['aa'])} at {epsilon}{' (last)' if run['checkpoint'] == 'last' else ''}"
    counts = [run[f"{key}_n"] for key in differing if run[key] is not None]
    numbers = ["?" if count is None else format_images(count) for count in counts]
    n = numbers[0] if len(set(numbers)) == 1 else "/".join(numbers)
    state = f"{run['state']} !" if run["alarms"] else run["state"]
    written, size = format_minute(run["written"]), format_bytes(run["size"] or 0)
    return run["name"], run["dataset"] or "", run["method"] or "", state, epoch, clean, pgd, aa, n, written, size
