"""What a recipe asks for and a training cannot do, for warnings."""

from collections.abc import Iterator

import torch

from afdctl.attacks.autoattack import square_starts
from afdctl.recipe import Recipe
from afdctl.recipe.schema import Train


def unheeded(recipe: Recipe, device: torch.device, image_size: int) -> Iterator[str]:
    """One message for each key without an effect."""
    late = [milestone for milestone in recipe.train.milestones if milestone >= recipe.train.epochs]
    if late:
        yield f"train.milestones {late} lie beyond the last epoch: there the rates never fall"
    if recipe.train.schedule != "one_cycle" and recipe.train.rise != Train.model_fields["rise"].default:
        yield 'train.rise is for train.schedule = "one_cycle": rates that fall at milestones never rise'
    if recipe.validation.queries and not recipe.data.holdout:
        yield "validation.queries has no hold-out to search: data.holdout is 0"
    if recipe.validation.queries + recipe.test.queries and not square_starts(
        recipe.attack.norm, image_size, image_size
    ):
        yield f"Square cannot start in {recipe.attack.norm} on images of {image_size} pixels a side: PGD runs alone"
