"""What torch.compile costs before the first step, and after how many steps it has paid."""

from functools import partial
from math import ceil
from statistics import median
from typing import Any

from afdctl.bench.step_time import estimate_ratio, interleave
from afdctl.models.cost import timed
from afdctl.recipe import Recipe
from afdctl.training.cost_estimate import ImageBatch, build_defense, with_train_settings


def measure_compilation(recipe: Recipe, images: ImageBatch, rounds: int) -> dict[str, Any] | None:
    """Time the recipe's first and later steps against those without compilation; None if the recipe has none.

    Must come before any other compiled step of the process, whose code it would use. What torch has stored on the disk
    from an earlier process shortens the first step too.
    """
    if not recipe.train.compile:
        return None
    eager_recipe, device = with_train_settings(recipe, compile=False), images.x.device
    defenses = {
        name: build_defense(chosen, chosen.defense, chosen.attack.steps, images)
        for name, chosen in {"compiled": recipe, "eager": eager_recipe}.items()
    }
    steps = {name: partial(defense.step, images.x, images.y) for name, defense in defenses.items()}
    first = {name: timed(step, device) for name, step in steps.items()}
    seconds = interleave(steps, rounds, device)
    saved = median(seconds["eager"]) - median(seconds["compiled"])
    start_up = max(first["compiled"] - first["eager"], 0.0)
    return {
        "start_up_seconds": start_up,
        "compiled_over_eager": estimate_ratio(seconds["compiled"], seconds["eager"]),
        "pays_after_steps": ceil(start_up / saved) if saved > 0 else None,
    }
