"""`afdctl runs best`: the runs that are best on the hold-out, such as those of a grid."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdctl.cli import options
from afdctl.cli.runs.ls import WHERE, rows, select
from afdctl.errors import NotFoundError
from afdctl.formatting import format_percent, format_value

if TYPE_CHECKING:
    from afdctl.runs.ranking import Setting

TABLE = typer.Option("--table", help="Print all settings, the best first, in place of the best runs' paths.")


def best(
    folder: options.Runs = Path("runs"),
    where: Annotated[list[str] | None, WHERE] = None,
    table: Annotated[bool, TABLE] = False,
    as_json: options.Json = False,
) -> None:
    """Print the path of the run that is best on the hold-out, under the probe or APGD-CE; test images play no part.

    Runs whose recipes differ in their seeds alone are one setting: it is ranked by its mean, and all its runs printed.
    """
    from afdctl.runs.ranking import Candidate, rank

    listed = select(rows(folder), where or [], None)
    candidates = [Candidate.of(row.record) if row.record else None for row in listed]
    finished = [candidate for candidate in candidates if candidate]
    left_out = [row.summary["name"] for row, candidate in zip(listed, candidates, strict=True) if not candidate]
    if not finished:
        raise NotFoundError(f"{folder}: no finished training with a hold-out here; see `afdctl runs ls`")
    settings = rank(finished)
    for words in _warnings(settings, left_out):
        typer.echo(f"warning: {words}", err=True)
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", "settings": [_as_object(setting) for setting in settings]}))
    elif table:
        _print(settings)
    else:
        for run in settings[0].runs:
            typer.echo(run.record.run.path)


def _warnings(settings: "Sequence[Setting]", left_out: Sequence[str]) -> list[str]:
    words = []
    if left_out:
        words.append(f"not finished, or without a hold-out, and left out: {', '.join(left_out)}")
    counts = [len(setting.runs) for setting in settings]
    if len(set(counts)) > 1:
        words.append(f"the settings have {min(counts)} to {max(counts)} seeds; a mean of fewer is less certain")
    return words


def _as_object(setting: "Setting") -> dict[str, Any]:
    first = setting.runs[0]
    return {
        "values": setting.values,
        "accuracy": setting.accuracy,
        "deviation": setting.deviation,
        "clean": setting.clean,
        "attack": first.attack,
        "n": first.n,
        "runs": [
            {"path": str(run.record.run.path), "seed": run.record.seed, "accuracy": run.accuracy, "clean": run.clean}
            for run in setting.runs
        ],
    }


def _print(settings: "Sequence[Setting]") -> None:
    from rich.table import Table

    from afdctl.cli.console import TableConsole

    first = settings[0].runs[0]
    table = Table()
    for key in settings[0].values:
        table.add_column(key, overflow="fold")
    for heading in (first.attack, "clean", "seeds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("runs", overflow="fold")
    for setting in settings:
        deviation = "" if setting.deviation is None else f" ± {100 * setting.deviation:.1f}"
        table.add_row(
            *map(format_value, setting.values.values()),
            format_percent(setting.accuracy) + deviation,
            format_percent(setting.clean),
            str(len(setting.runs)),
            " ".join(run.record.run.name for run in setting.runs),
        )
    console = TableConsole()
    console.print(table)
    console.print(
        f"In %, of the best epoch on {first.n:,} hold-out images (no AutoAttack), mean ± deviation of the seeds. The "
        "best of many is flattered: measure it on the test split.",
        soft_wrap=True,
    )
