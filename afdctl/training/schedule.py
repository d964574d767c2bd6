"""What changes during a training: learning rates and the strength of the adversary.

Every value is a function of the number of completed steps, so a resumed run cannot differ.
"""

from collections.abc import Iterator
from itertools import accumulate
from math import ceil
from typing import Final

from afdctl.attacks.autoattack import square_starts
from afdctl.formatting import ENOUGH_SQUARE_QUERIES, describe_short_reach
from afdctl.recipe import Recipe
from afdctl.recipe.defenses import AdversaryConfig
from afdctl.recipe.schema import Evaluation, Train
from afdctl.training.evaluate import weak_evaluation

N_FGSM: Final = "n_fgsm"
# Forward-equivalents of AFD's updates in a step; those of other defenses are similar.
NON_ATTACK_PASSES: Final = 6


class LearningRateSchedule:
    """The factor of all learning rates over the training (`train.schedule`); steps count from 0."""

    def __init__(self, train: Train, steps_per_epoch: int) -> None:
        self.train, self.steps_per_epoch = train, steps_per_epoch
        # Goyal et al. 2017 (arXiv:1706.02677): the learning rate grows linearly with the batch size
        self._batch_factor = train.batch_size / train.reference_batch_size if train.reference_batch_size else 1.0

    def factor(self, step: int) -> float:
        """Return the factor in a step."""
        one_cycle = self.train.schedule == "one_cycle"
        return self._batch_factor * (self._one_cycle_factor(step) if one_cycle else self._milestone_factor(step))

    def _milestone_factor(self, step: int) -> float:
        passed = sum(milestone <= step // self.steps_per_epoch for milestone in self.train.milestones)
        return self.train.lr_decay**passed

    def _one_cycle_factor(self, step: int) -> float:
        """Rise linearly to 1, then fall linearly to 0 (Smith and Topin 2019, arXiv:1708.07120)."""
        # at the middle of a step, so that no step has a learning rate of 0
        share = (step + 0.5) / (self.train.epochs * self.steps_per_epoch)
        rise = self.train.warmup_fraction
        return min(share / rise, (1 - share) / (1 - rise))


class AdversarySchedule:
    """The strength of the adversary over the training, and the work that it takes; steps and epochs count from 0."""

    def __init__(self, recipe: Recipe, steps_per_epoch: int) -> None:
        self.recipe, self.steps_per_epoch = recipe, steps_per_epoch
        passes = (self.attack_passes(epoch) + NON_ATTACK_PASSES for epoch in range(recipe.train.epochs))
        # entry n: forward-equivalents per image of the first n epochs
        self._passes_before_epoch = [0, *accumulate(passes)]

    def table(self, step: int) -> AdversaryConfig:
        """Return the recipe's [attack] table with the values for a step."""
        attack, epoch = self.recipe.attack, step // self.steps_per_epoch
        warmup_steps = max(1.0, attack.epsilon_warmup_epochs * self.steps_per_epoch)
        # step + 1, because an adversary of epsilon 0 in the first step would do nothing
        epsilon = attack.epsilon * min(1.0, (step + 1) / warmup_steps)
        if epoch < attack.n_fgsm_epochs:
            return attack.model_copy(update={"epsilon": epsilon, "name": N_FGSM, "steps": 1, "step_size": None})
        ramped = ceil(attack.steps * (epoch - attack.n_fgsm_epochs + 1) / (attack.steps_warmup_epochs + 1))
        return attack.model_copy(update={"epsilon": epsilon, "steps": min(attack.steps, ramped)})

    def attack_passes(self, epoch: int) -> int:
        """Return the forward-equivalents of an attack: two per step, and one to evaluate the last iterate.

        N-FGSM does not evaluate its only iterate.
        """
        attack = self.table(epoch * self.steps_per_epoch)
        return 2 * attack.steps + (attack.name != N_FGSM)

    def mean_attack_steps(self) -> float:
        """Return the constant number of attack steps with the same total cost."""
        epochs = self.recipe.train.epochs
        return (sum(map(self.attack_passes, range(epochs))) / epochs - 1) / 2

    @property
    def varies(self) -> bool:
        """Whether some epochs take longer than others."""
        return self.recipe.defense.name != "natural" and self.recipe.attack.curriculum_epochs > 0

    def progress(self, step: int) -> float:
        """Return the completed share of the training's work in [0, 1] after `step` steps, counted in passes."""
        epoch, steps = divmod(step, self.steps_per_epoch)
        before = self._passes_before_epoch[epoch]
        # after the last step there is no next epoch
        after = self._passes_before_epoch[min(epoch + 1, self.recipe.train.epochs)]
        return (before + (after - before) * steps / self.steps_per_epoch) / self._passes_before_epoch[-1]


def recipe_warnings(recipe: Recipe, image_size: int) -> Iterator[str]:
    """Yield a warning for each key that has no effect or weakens an attack; `image_size` is in pixels a side."""
    train, attack = recipe.train, recipe.attack
    late = [milestone for milestone in train.milestones if milestone >= train.epochs]
    if late:
        yield f"train.milestones {late} are after the last epoch; the learning rate does not decay there"
    if train.schedule != "one_cycle" and train.warmup_fraction != Train.model_fields["warmup_fraction"].default:
        yield 'train.warmup_fraction has no effect; it needs train.schedule = "one_cycle"'
    if warning := _weak_adversary(recipe):
        yield warning
    if recipe.validation.square_queries and not recipe.data.holdout:
        yield "validation.square_queries has no effect; data.holdout is 0, so there is no validation"
    evaluations: dict[str, Evaluation] = {"validation": recipe.validation} if recipe.data.holdout else {}
    square_can_start = square_starts(attack.norm, image_size, image_size)
    for name, table in (evaluations | {"test": recipe.test}).items():
        if warning := weak_evaluation(name, table, attack):
            yield warning
        if square_can_start and 0 < table.square_queries < ENOUGH_SQUARE_QUERIES:
            yield (
                f"{name}.square_queries = {table.square_queries} is too few to detect masked gradients; below "
                f"{ENOUGH_SQUARE_QUERIES} queries, an accuracy that Square does not lower is no evidence of robustness"
            )
    if (recipe.validation.square_queries or recipe.test.square_queries) and not square_can_start:
        yield f"Square cannot start in {attack.norm} on images of {image_size} x {image_size} pixels; only PGD runs"


def _weak_adversary(recipe: Recipe) -> str | None:
    """Warn of a training adversary that cannot cross its ball, as after a change of `steps` or `step_size` alone."""
    attack = recipe.attack
    # without step_size, the length of a step follows `steps`
    if recipe.defense.name == "natural" or attack.step_size is None:
        return None
    # pgd_kl starts beside x, from where the far side of the ball is one epsilon away
    needed = 2 if attack.name == "pgd" and attack.random_start else 1
    reach = attack.steps * attack.step_size / attack.epsilon
    title = f"training adversary {attack.name} at {attack.epsilon:.4g}"
    warning = describe_short_reach(title, attack.steps, reach, needed)
    return f"{warning}; it trains in a smaller ball (attack.steps, attack.step_size)" if warning else None
