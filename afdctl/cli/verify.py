"""`afdctl verify`: do runs reproduce published numbers?"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdctl.cli import options
from afdctl.cli.targets import find_targets
from afdctl.errors import AfdctlError, NoResultsError
from afdctl.formatting import format_count, format_images

if TYPE_CHECKING:
    from afdctl.export.verification import Comparison, Verification

IMPOSSIBLE = typer.Option(
    "--impossible", help="List the paper's numbers that its own grids cannot give, and compare nothing."
)
VERDICTS = {"holds": "holds", "below": "BELOW", "above": "ABOVE"}
NOTE = (
    "±: 95 % band from the test images of both sides and, with two seeds or more, the deviation over seeds. Only the "
    "same attack with the published settings and grid is compared."
)


def verify(
    names: options.TargetNames = None,
    impossible: Annotated[bool, IMPOSSIBLE] = False,
    checkpoint: options.Checkpoint = "best",
    folder: options.Runs = Path("runs"),
    as_json: options.Json = False,
) -> None:
    """Compare measured accuracies and areas with published ones. Exit code 1: one is out of its band; 7: none compares.

    They are those of the paper, and of baselines on CIFAR-10. Nothing is computed: `afdctl sweep RUN --suite paper-A2`
    measures what is compared here. Runs of one recipe with several seeds are compared as one.
    """
    if impossible:
        _print_impossible(as_json)
        return
    from afdctl.export import verification
    from afdctl.runs.record import Record

    chosen = options.run_names(names or [])
    unpublished = _unpublished_models(chosen)
    measured = find_targets([name for name in chosen if name not in unpublished], folder, make=False)
    found = verification.verify([Record.of(run, checkpoint) for run in options.distinct_runs(measured)])
    found = replace(found, unpublished=found.unpublished | unpublished)
    if as_json:
        typer.echo(
            json.dumps(
                {"schema": "afdctl/1", "comparisons": [asdict(one) for one in found.comparisons]}
                | {"missing": found.missing, "unpublished": found.unpublished, "impossible": _impossible()}
            )
        )
    else:
        _print(found)
    if not found.compared:
        raise NoResultsError(f"verify: {_nothing(found)}")
    if outside := found.outside:
        all_compared = format_count(len(found.compared), "number")
        raise AfdctlError(f"verify: {len(outside)} of {all_compared} outside the band")


def _unpublished_models(names: Sequence[str]) -> dict[str, str]:
    """Return each `model:NAME` of a data set without published numbers, with the reason: it needs no sweep."""
    from afdctl.export.groups import DATASETS
    from afdctl.export.verification import why_unpublished
    from afdctl.runs.model_card import PREFIX, load

    cards = {name: load(name).card for name in names if name.startswith(PREFIX)}
    others = {name: card for name, card in cards.items() if card.recipe.dataset not in DATASETS}
    return {name: why_unpublished(card.method, card.recipe.dataset) for name, card in others.items()}


def _nothing(found: "Verification") -> str:
    """Say in one line why nothing was compared, and what to do."""
    if not found.comparisons:
        return (
            f"no published number is of {', '.join(found.unpublished)}: they are of NT, AT, TRADES and AFD on the "
            "paper's four data sets, and of baselines on cifar10"
        )
    unmeasured = sum(one.reason == "not measured" for one in found.comparisons)
    others = len(found.comparisons) - unmeasured
    reasons = f"{unmeasured} not measured, {others} of other attacks or networks, or impossible"
    hint = f"; run `{found.missing[0]}`" if found.missing else "; run `afdctl sweep RUN --suite paper-A2`"
    return f"none of {format_count(len(found.comparisons), 'published number')} can be compared: {reasons}{hint}"


def _print(found: "Verification") -> None:
    from rich.table import Table

    from afdctl.cli.console import TableConsole

    console = TableConsole()
    for labels in dict.fromkeys(one.labels for one in found.compared):
        rows = [one for one in found.compared if one.labels == labels]
        table = Table(title=f"{' '.join(labels)}: {', '.join(rows[0].runs)}", title_justify="left")
        for heading in ("source", "number", "published", "measured", "±", "n", "verdict"):
            table.add_column(heading, justify="right" if heading in ("published", "measured", "±", "n") else "left")
        for one in rows:
            numbers = [_number(one, value) for value in (one.published, one.measured, one.band)]
            table.add_row(one.source, one.number, *numbers, format_images(one.n or 0), VERDICTS[one.verdict])
        console.print(table)
    if found.compared:
        typer.echo(NOTE)
    for source, address in {one.source: one.address for one in found.compared if one.address}.items():
        typer.echo(f"{source}: {address}")
    for line in _not_compared(found):
        typer.echo(line)
    for command in found.missing:
        typer.echo(f"To measure what is missing: {command}")


def _number(one: "Comparison", value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if one.kind == "area" else f"{100 * value:.2f}"


def _not_compared(found: "Verification") -> list[str]:
    """Return a line for each reason and published row, with the numbers that it is true of."""
    lines: dict[tuple[str, str], list[str]] = {}
    for one in found.comparisons:
        if one.verdict == "not compared":
            place = f"{' '.join(one.labels)}, {one.source}"
            lines.setdefault((place, one.reason), []).append(one.number)
    numbers = [f"Not compared: {place}, {', '.join(titles)}: {reason}." for (place, reason), titles in lines.items()]
    # where no number is published of any run, the error says so
    runs = found.unpublished.items() if found.comparisons else ()
    return [*numbers, *(f"Not compared: {run} ({reason})." for run, reason in runs)]


def _impossible() -> list[dict[str, Any]]:
    from afdctl.export.tables.paper_bounds import impossible_areas

    return [asdict(area) | {"table": "2", "reason": area.reason} for area in impossible_areas()]


def _print_impossible(as_json: bool) -> None:
    from afdctl.export.tables.paper_bounds import areas_published

    areas = _impossible()
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", "impossible": areas, "published": areas_published()}))
        return
    typer.echo(f"{len(areas)} of the {areas_published()} areas of Table 2 cannot come from Table A2's grids:")
    for area in areas:
        typer.echo(f"{area['dataset']:<14}{area['method']:<10}{area['attack']:<9}{area['reason']}")
