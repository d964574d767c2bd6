"""`afdctl bench`: what a recipe costs on this machine, before a long run."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from afdctl.cli.options import RECIPE, SET

ATTACK_STEPS = typer.Option(min=1, help="Measure with so many attack steps; may be repeated. By default 10 and 40.")
ROUNDS = typer.Option(min=2, help="How often each step is measured, in turn.")
DEVICE = typer.Option(help="auto, cpu, cuda, cuda:N or mps.")
JSON = typer.Option("--json", help="One JSON object instead of a table.")


def bench(
    recipe: Annotated[str, RECIPE],
    overrides: Annotated[list[str] | None, SET] = None,
    attack_steps: Annotated[list[int] | None, ATTACK_STEPS] = None,
    rounds: Annotated[int, ROUNDS] = 15,
    device: Annotated[str, DEVICE] = "auto",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Measure the AFD step against AT's and against the published code's, and what the journal adds to it.

    Steps are taken in turn in one run, on random images; a ratio is the median of the pairs, with their middle half.
    """
    from afdctl import recipe as recipes
    from afdctl.bench.report import measure
    from afdctl.train.start import choose_device

    chosen = recipes.load(recipe, overrides or [])
    report = measure(chosen, attack_steps or [10, 40], rounds, choose_device(device))
    typer.echo(json.dumps(report)) if as_json else table(report)


def table(report: dict[str, Any]) -> None:
    """Print the figures for people."""
    from rich.console import Console
    from rich.table import Table

    title = f"one step at batch {report['batch_size']} on {report['device']}, {report['threads']} threads"
    shown = Table(title=title, title_justify="left")
    for heading in ("attack steps", "AFD", "AFD / AT", "AFD / published", "journal + HDF5"):
        shown.add_column(heading, justify="right")
    for row in report["steps"]:
        shown.add_row(
            str(row["attack_steps"]),
            f"{1000 * row['afd_seconds']:.1f} ms",
            *(spread(row[name]) for name in ("afd_over_at", "afd_over_published")),
            f"{row['journal_share']:.2%}",
        )
    Console().print(shown)


def spread(ratio: Sequence[float]) -> str:
    middle, low, high = ratio
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"
