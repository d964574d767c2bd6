"""The work of an attack for each image, in forward-equivalents: a backward pass to the image costs as much."""

from typing import Final

from afdctl.recipe import Recipe
from afdctl.recipe.adversary import AdversaryConfig
from afdctl.recipe.schema import TestEvaluation

N_FGSM: Final = "n_fgsm"
# attacks on a divergence from the logits of x
DIVERGENCES: Final = ("pgd_kl", "pgd_lse")


def passes_of_attack(attack: AdversaryConfig) -> int:
    """Return the forward-equivalents of an [attack] table: two per step, and one to evaluate the last iterate.

    An attack whose x' is the last iterate in any case does not evaluate it. TRADES and SCORE also classify x. In a
    union of norms, "max" attacks in each and evaluates each x', and "msd" evaluates a step in each norm.
    """
    # the only iterate of N-FGSM has the largest loss
    last = ("last", "best_loss") if attack.name == N_FGSM else ("last",)
    passes = 2 * attack.steps + (attack.return_iterate not in last) + (attack.name in DIVERGENCES)
    rule, norms = attack.union.rule if attack.union else None, len(attack.balls)
    if rule == "max":
        return norms * (passes + 1)
    return passes + (norms * attack.steps if rule == "msd" else 0)


def passes_of_validation(recipe: Recipe) -> int:
    """Return the forward-equivalents of a validation for an image that no attack fools, which costs the most."""
    table = recipe.validation
    # the start is evaluated too; an attack's own clean pass and the verification of its x' are one pass each
    apgd = 2 * (table.steps + 1)
    passes = 2 + apgd + 2
    if recipe.train.checkpoint_selection == "probe":
        passes += table.targets * apgd + 2 + table.square_queries + 3
    return passes * len(recipe.attack.balls)


def passes_of_test(table: TestEvaluation) -> int:
    """Return the forward-equivalents of the test in one norm, for an image that no attack fools: the most it costs."""
    return 2 * table.steps + 3 + (table.square_queries + 3 if table.square_queries else 0)
