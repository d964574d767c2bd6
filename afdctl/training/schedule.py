"""What changes in the course of a training: its rates, and the adversary.

All of it follows from the number of steps done, so that a resumed run cannot differ.
"""

from collections.abc import Iterator
from itertools import accumulate
from math import ceil

import torch

from afdctl.attacks.autoattack import square_starts
from afdctl.recipe import Recipe
from afdctl.recipe.schema import Attack, Train

N_FGSM = "n_fgsm"
NON_ATTACK_PASSES = 6
"""Forward-equivalents of AFD's updates, which those of other defenses are near to."""


class Schedule:
    """A recipe's, for a number of steps an epoch. Steps and epochs count from 0."""

    def __init__(self, recipe: Recipe, steps_per_epoch: int) -> None:
        self.recipe, self.steps_per_epoch = recipe, steps_per_epoch
        each = (self.attack_passes(epoch) + NON_ATTACK_PASSES for epoch in range(recipe.train.epochs))
        self._work = [0, *accumulate(each)]

    def lr_factor(self, step: int) -> float:
        """What every rate of the recipe is multiplied by in a step."""
        train = self.recipe.train
        # Goyal et al. 2017: k times as many images a step, k times the rate
        scale = train.batch_size / train.reference_batch_size if train.reference_batch_size else 1.0
        return scale * (self._one_cycle(step) if train.schedule == "one_cycle" else self._fallen(step))

    def attack(self, step: int) -> Attack:
        """The recipe's [attack] table as it stands in a step."""
        attack, epoch = self.recipe.attack, step // self.steps_per_epoch
        warmup_steps = max(1.0, attack.epsilon_warmup_epochs * self.steps_per_epoch)
        now = {"epsilon": attack.epsilon * min(1.0, (step + 1) / warmup_steps)}
        if epoch < attack.n_fgsm_epochs:
            return attack.model_copy(update=now | {"name": N_FGSM, "steps": 1, "step_size": None})
        ramped = ceil(attack.steps * (epoch - attack.n_fgsm_epochs + 1) / (attack.steps_warmup_epochs + 1))
        return attack.model_copy(update=now | {"steps": min(attack.steps, ramped)})

    def attack_passes(self, epoch: int) -> int:
        """Forward-equivalents of the adversary in an epoch: two a step, and but for N-FGSM a last look at x'."""
        attack = self.attack(epoch * self.steps_per_epoch)
        return 2 * attack.steps + (attack.name != N_FGSM)

    def mean_attack_steps(self) -> float:
        """The number of attack steps that would cost as much if all epochs had it."""
        epochs = self.recipe.train.epochs
        return (sum(map(self.attack_passes, range(epochs))) / epochs - 1) / 2

    @property
    def varies(self) -> bool:
        """Whether some epochs take longer than others."""
        return self.recipe.defense.name != "natural" and self.recipe.attack.curriculum_epochs > 0

    def progress(self, step: int) -> float:
        """The share in [0, 1] of the training's work that is done after so many steps, by counting passes."""
        epoch, within = divmod(step, self.steps_per_epoch)
        before, after = self._work[epoch], self._work[min(epoch + 1, self.recipe.train.epochs)]
        return (before + (after - before) * within / self.steps_per_epoch) / self._work[-1]

    def _fallen(self, step: int) -> float:
        passed = sum(milestone <= step // self.steps_per_epoch for milestone in self.recipe.train.milestones)
        return self.recipe.train.lr_decay**passed

    def _one_cycle(self, step: int) -> float:
        """Linearly up to 1 in the first `rise` of the training, then linearly down to 0 (Smith & Topin 2019)."""
        # the middle of a step, so that no step is taken at rate 0
        share = (step + 0.5) / (self.recipe.train.epochs * self.steps_per_epoch)
        rise = self.recipe.train.warmup_fraction
        return min(share / rise, (1 - share) / (1 - rise))


def ineffective_settings(recipe: Recipe, device: torch.device, image_size: int) -> Iterator[str]:
    """One message for each key without an effect."""
    late = [milestone for milestone in recipe.train.milestones if milestone >= recipe.train.epochs]
    if late:
        yield f"train.milestones {late} lie beyond the last epoch: there the rates never fall"
    default = Train.model_fields["warmup_fraction"].default
    if recipe.train.schedule != "one_cycle" and recipe.train.warmup_fraction != default:
        yield 'train.warmup_fraction is for train.schedule = "one_cycle": rates that fall at milestones never rise'
    if recipe.validation.square_queries and not recipe.data.holdout:
        yield "validation.square_queries has no hold-out to search: data.holdout is 0"
    if recipe.validation.square_queries + recipe.test.square_queries and not square_starts(
        recipe.attack.norm, image_size, image_size
    ):
        yield f"Square cannot start in {recipe.attack.norm} on images of {image_size} pixels a side: PGD runs alone"
