"""The attacks of a training's validation and test, in each norm of the recipe's [attack] table."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from afdctl.attacks.autoattack import apgd_ce, apgd_t, square, square_starts
from afdctl.attacks.base import AttackResult, Model
from afdctl.attacks.pgd import pgd
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.formatting import describe_short_reach
from afdctl.recipe import Recipe
from afdctl.recipe.adversary import AdversaryConfig
from afdctl.recipe.schema import TestEvaluation


class Part(Protocol):
    """An attack with all its settings."""

    def __call__(self, model: Model, x: Tensor, y: Tensor, *, rng: SampleRNG) -> AttackResult:
        """Attack x (n, c, h, w) with labels y (n,)."""


def validation_parts(recipe: Recipe, norm: str) -> list[Part]:
    """Return APGD-CE in a norm; for the probe then APGD-T and Square too, a short AutoAttack without FAB."""
    table, ball = recipe.validation, _ball(recipe, norm)
    parts: list[Part] = [partial(apgd_ce, **ball, steps=table.steps, restarts=1)]
    if recipe.train.checkpoint_selection == "probe":
        parts += [
            partial(apgd_t, **ball, steps=table.steps, targets=table.targets),
            partial(square, **ball, queries=table.square_queries),
        ]
    return parts


def evaluation_parts(recipe: Recipe, norm: str, image_size: Sequence[int]) -> list[Part]:
    """Return the attacks of the test in a norm on images of (h, w): PGD, and Square where asked for and possible."""
    table, ball = recipe.test, _ball(recipe, norm)
    parts: list[Part] = [partial(pgd, **ball, steps=table.steps, step_size=table.step_size)]
    if norm == "l1":
        # PGD's dense steps hardly move in l1
        parts = [partial(apgd_ce, **ball, steps=table.steps, restarts=1)]
    if table.square_queries and square_starts(norm, *image_size):
        parts.append(partial(square, **ball, queries=table.square_queries))
    return parts


def _ball(recipe: Recipe, norm: str) -> dict[str, Any]:
    return {"norm": norm, "epsilon": recipe.attack.balls[norm]}


def weak_test(table: TestEvaluation, attack: AdversaryConfig) -> str | None:
    """Warn of a PGD of the test whose steps cannot cross the ball, as `afdctl sweep` does."""
    if table.step_size is None:
        # its default follows `steps`
        return None
    reach = table.steps * table.step_size / attack.epsilon
    # 2 from a random start, which may be opposite
    warning = describe_short_reach(f"test: PGD-{table.steps} at {attack.epsilon:.4g}", table.steps, reach, 2)
    return f"{warning}; its accuracies are too high (test.steps, test.step_size)" if warning else None
