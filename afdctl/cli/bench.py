"""`afdctl bench`: what a recipe costs on this machine, before a long run."""

import json
from typing import Annotated

import typer

from afdctl.cli.train import RECIPE, SET

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
    from afdctl.bench.report import measure, table
    from afdctl.train.start import choose_device

    chosen = recipes.load(recipe, overrides or [])
    report = measure(chosen, attack_steps or [10, 40], rounds, choose_device(device))
    typer.echo(json.dumps(report)) if as_json else table(report)
