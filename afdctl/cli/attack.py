"""`afdctl attack`: one attack at one epsilon."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from afdctl.cli.evaluation import EvaluateOptions, evaluate
from afdctl.cli.options import takes
from afdctl.errors import RecipeError

ATTACK = typer.Option(help="fgsm, pgd_linf, pgd_l2, pgd_l1, mim, ddn, deepfool, cw, aa, apgd_ce, square, ...")
EPSILON = typer.Option(help="The radius of the ball, such as 0.3 or 8/255; images are in [0, 1].")


@dataclass(frozen=True, kw_only=True)
class AttackOptions(EvaluateOptions):
    attack: Annotated[str, ATTACK] = "aa"
    epsilon: Annotated[str | None, EPSILON] = None


@takes(AttackOptions)
def attack(options: AttackOptions) -> None:
    """Attack models with one attack, AutoAttack by default, at one epsilon, and print their accuracy.

    Settings are those of the suite `strong` unless --set changes them. Without RUN: the newest one.
    """
    from afdctl.suites import load
    from afdctl.suites.attack_config import parse_epsilon

    # typer's message for a required option would not say what a radius looks like
    if options.epsilon is None:
        raise RecipeError("--epsilon: missing; name the radius, such as 0.3 or 8/255")
    epsilon = parse_epsilon(options.epsilon)
    if epsilon == 0:
        raise RecipeError("--epsilon 0: nothing to attack; clean accuracy is printed with every other epsilon")
    evaluate(
        options,
        partial(
            load.load,
            load.DEFAULT,
            attacks=[options.attack],
            # with 0, so that clean accuracy is that of the same images
            epsilons=(0.0, epsilon),
            overrides=options.overrides or [],
            options=("--attack", "--epsilon"),
        ),
    )
