"""The balls of a union of norms, as `--union linf=8/255,l2=0.5` names them."""

from collections.abc import Iterable
from typing import get_args

from afdctl.errors import RecipeError
from afdctl.formatting import did_you_mean, format_epsilon, shorten
from afdctl.suites.attack_config import AttackConfig, Norm, parse_epsilon

# norm -> radius
Balls = dict[str, float]


def parse_balls(text: str) -> Balls:
    """Parse `norm=epsilon,norm=epsilon`, at least two norms; RecipeError for anything else."""
    balls: Balls = {}
    for part in text.split(","):
        norm, equals, epsilon = part.strip().partition("=")
        if not equals:
            raise RecipeError(f"--union '{shorten(text)}': write norm=epsilon,..., such as linf=8/255,l2=0.5")
        if norm not in get_args(Norm):
            raise RecipeError(f"--union {shorten(norm)}: no such norm ({did_you_mean(norm, get_args(Norm))})")
        if norm in balls:
            raise RecipeError(f"--union {norm}: is given twice")
        balls[norm] = parse_epsilon(epsilon, f"--union {norm}")
    if len(balls) < 2:
        raise RecipeError(f"--union '{shorten(text)}': a union has at least two norms")
    if zero := [norm for norm, epsilon in balls.items() if epsilon == 0]:
        raise RecipeError(f"--union {zero[0]}=0: a radius of 0 is no ball; name one above 0")
    return balls


def check_measured(balls: Balls, attacks: Iterable[AttackConfig]) -> None:
    """Raise RecipeError for a ball in which none of these attacks is run."""
    attacks = list(attacks)
    for norm, epsilon in balls.items():
        grid = {value for attack in attacks if attack.norm == norm for value in attack.epsilons[1:]}
        if epsilon not in grid:
            known = ", ".join(map(format_epsilon, sorted(grid)))
            remedy = f"choose one of its epsilons there: {known}" if grid else f"add an attack in {norm}"
            raise RecipeError(f"--union {norm}={format_epsilon(epsilon)}: no attack of this sweep is there; {remedy}")
