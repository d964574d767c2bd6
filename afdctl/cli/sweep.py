"""`afdctl sweep`: a suite's attacks over their epsilons, on one or many models."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from afdctl.cli.evaluation import EvaluateOptions, evaluate
from afdctl.cli.options import split_names, takes

ATTACKS = typer.Option(metavar="NAME,...", help="Run only these attacks; may name attacks that the suite lacks.")
EPSILONS = typer.Option(metavar="GRID", help="Use this grid instead: 0,0.1,8/255 or 0:0.5:0.1.")
SUITE = typer.Option(help="The attack suite: strong, paper-A2, paper-notebook, or a file.")
UNION = typer.Option(
    metavar="NORM=EPSILON,...",
    help="Also the accuracy in a union of balls, such as linf=8/255,l2=0.5; default: the balls of the training.",
)
MATRIX = typer.Option("--matrix", help="Attack every run with images made on each of the others.")


@dataclass(frozen=True, kw_only=True)
class SweepOptions(EvaluateOptions):
    attacks: Annotated[str | None, ATTACKS] = None
    epsilons: Annotated[str | None, EPSILONS] = None
    suite: Annotated[str, SUITE] = "strong"
    union: Annotated[str | None, UNION] = None
    matrix: Annotated[bool, MATRIX] = False


@takes(SweepOptions)
def sweep(options: SweepOptions) -> None:
    """Run a suite's attacks over their epsilons, and print accuracies and the areas under their curves.

    Finished work is skipped, so the same command resumes after Ctrl-C or a kill. Without RUN: the newest one.
    """
    from afdctl.suites import load
    from afdctl.suites.attack_config import parse_grid
    from afdctl.suites.balls import parse_balls

    # parsed before any run is opened: these mistakes do not depend on the runs
    attacks = split_names(options.attacks)
    epsilons = None if options.epsilons is None else parse_grid(options.epsilons)
    evaluate(
        options,
        partial(load.load, options.suite, attacks=attacks, epsilons=epsilons, overrides=options.overrides or []),
        matrix=options.matrix,
        balls=None if options.union is None else parse_balls(options.union),
    )
