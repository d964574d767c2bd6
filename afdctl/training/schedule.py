"""What changes during a training: learning rates and the strength of the adversary.

Every value is a function of the number of completed steps, so a resumed run cannot differ.
"""

from collections.abc import Iterator
from itertools import accumulate
from math import ceil, cos, pi
from random import Random
from typing import Final

from afdctl.attacks.autoattack import square_starts
from afdctl.defenses.awp import perturbs_weights
from afdctl.formatting import describe_short_reach
from afdctl.recipe import Recipe
from afdctl.recipe.adversary import AdversaryConfig
from afdctl.recipe.data import Data
from afdctl.recipe.schema import Train, Validation
from afdctl.training.evaluation_parts import weak_test
from afdctl.training.passes import N_FGSM, passes_of_attack, passes_of_validation
from afdctl.training_text import ENOUGH_SQUARE_QUERIES

# default of train.warmup_fraction with one_cycle
ONE_CYCLE_WARMUP: Final = 0.3
# Largest share of a training's passes that the probe may take: time that better pays for more epochs.
MAX_PROBE_SHARE: Final = 0.05


class LearningRateSchedule:
    """The factor of all learning rates over the training (`train.schedule`); steps count from 0.

    Not torch's schedulers: they compute a learning rate from the one before, so that a step has none of its own.
    """

    def __init__(self, train: Train, steps_per_epoch: int) -> None:
        self.train, self.steps_per_epoch = train, steps_per_epoch
        self.warmup = warmup_fraction(train)
        shapes = {"milestones": self._milestones, "cosine": self._cosine, "one_cycle": self._linear}
        self._shape = shapes[train.schedule]
        # Goyal et al. 2017 (arXiv:1706.02677): the learning rate grows linearly with the batch size
        self._batch_factor = train.batch_size / train.reference_batch_size if train.reference_batch_size else 1.0

    def factor(self, step: int) -> float:
        """Return the factor in a step: a linear rise from 0 in the warm-up, then the schedule's shape.

        A shape is a function of the step and of the part of the training after the warm-up that remains, in [0, 1].
        """
        # at the middle of a step, so that no step has a learning rate of 0
        share = (step + 0.5) / (self.train.epochs * self.steps_per_epoch)
        if share < self.warmup:
            return self._batch_factor * share / self.warmup
        return self._batch_factor * self._shape(step, (1 - share) / (1 - self.warmup))

    def _milestones(self, step: int, remaining: float) -> float:
        passed = sum(milestone <= step // self.steps_per_epoch for milestone in self.train.milestones)
        return self.train.lr_decay**passed

    def _cosine(self, step: int, remaining: float) -> float:
        """Half a cosine from 1 to 0 (Loshchilov and Hutter 2017, arXiv:1608.03983, Eq. 5, without restarts)."""
        return (1 - cos(pi * remaining)) / 2

    def _linear(self, step: int, remaining: float) -> float:
        """From 1 to 0; with the warm-up one cycle (Smith and Topin 2019, arXiv:1708.07120)."""
        return remaining


def warmup_fraction(train: Train) -> float:
    """Return the fraction of the training in which learning rates rise."""
    default = ONE_CYCLE_WARMUP if train.schedule == "one_cycle" else 0.0
    return default if train.warmup_fraction is None else train.warmup_fraction


class AdversarySchedule:
    """The strength of the adversary over the training, and the work that it takes; steps and epochs count from 0.

    A warm-up that is longer than the training ends with it.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int) -> None:
        self.recipe, self.steps_per_epoch = recipe, steps_per_epoch
        self.attack = recipe.attack.within(recipe.train.epochs)
        passes = map(self._passes, range(recipe.train.epochs))
        # entry n: forward-equivalents per image of the first n epochs
        self._passes_before_epoch = [0, *accumulate(passes)]

    @property
    def total_passes(self) -> int:
        """Forward-equivalents of all epochs for each training image."""
        return self._passes_before_epoch[-1]

    def table(self, step: int) -> AdversaryConfig:
        """Return the recipe's [attack] table with the values for a step."""
        attack, epoch = self.attack, step // self.steps_per_epoch
        warmup_steps = max(1.0, attack.epsilon_warmup_epochs * self.steps_per_epoch)
        # step + 1, because an adversary of epsilon 0 in the first step would do nothing
        factor = min(1.0, (step + 1) / warmup_steps)
        epsilon = attack.epsilon * factor
        if attack.union:
            attack = self._union_at(step, factor)
            epsilon = attack.epsilon
        if epoch < attack.n_fgsm_epochs:
            return attack.model_copy(update={"epsilon": epsilon, "name": N_FGSM, "steps": 1, "step_size": None})
        ramped = ceil(attack.steps * (epoch - attack.n_fgsm_epochs + 1) / (attack.steps_warmup_epochs + 1))
        return attack.model_copy(update={"epsilon": epsilon, "steps": min(attack.steps, ramped)})

    def _passes(self, epoch: int) -> int:
        """Return the forward-equivalents of a step for each image; AWP makes two of its updates."""
        defense, updates = self.recipe.descriptor, 1 + perturbs_weights(self.recipe.defense, epoch)
        return updates * defense.passes + (self.attack_passes(epoch) if defense.attacked else 0)

    def _union_at(self, step: int, factor: float) -> AdversaryConfig:
        """Return the [attack] table of a union of norms: its balls times `factor`, or the one drawn for a step."""
        assert self.attack.union
        balls = {norm: radius * factor for norm, radius in self.attack.balls.items()}
        if self.attack.union.rule != "random":
            scaled = {"epsilon": balls[self.attack.norm], "union": self.attack.union.scaled(factor)}
            return self.attack.model_copy(update=scaled)
        # from seed and step alone, so that a resumed run draws the same
        norm = Random(f"{self.recipe.seed} {step}").choice(list(balls))
        return self.attack.model_copy(update={"norm": norm, "epsilon": balls[norm], "union": None})

    def attack_passes(self, epoch: int) -> int:
        """Return the forward-equivalents of an attack for each image."""
        return passes_of_attack(self.table(epoch * self.steps_per_epoch))

    def mean_attack_steps(self) -> float:
        """Return the constant number of attack steps with the same total cost."""
        epochs, steps = self.recipe.train.epochs, self.attack.steps
        mean = sum(map(self.attack_passes, range(epochs))) / epochs
        start, full = (passes_of_attack(self.attack.model_copy(update={"steps": count})) for count in (0, steps))
        return steps * (mean - start) / (full - start)

    @property
    def varies(self) -> bool:
        """Whether some epochs take longer than others."""
        attack_varies = self.recipe.descriptor.attacked and self.attack.curriculum_epochs > 0
        return attack_varies or self.recipe.defense.awp_gamma * self.recipe.defense.awp_warmup_epochs > 0

    def progress(self, step: int) -> float:
        """Return the completed share of the training's work in [0, 1] after `step` steps, counted in passes."""
        epoch, steps = divmod(step, self.steps_per_epoch)
        before = self._passes_before_epoch[epoch]
        # after the last step there is no next epoch
        after = self._passes_before_epoch[min(epoch + 1, self.recipe.train.epochs)]
        return (before + (after - before) * steps / self.steps_per_epoch) / self.total_passes


class ValidationSchedule:
    """The epochs that are validated: every `interval`th, counted back from the last.

    Without the probe every epoch is validated. With it as many are as 5 % of the training's passes allow, but at least
    the last. `share` of the passes is the most that all validations cost.
    """

    def __init__(self, recipe: Recipe, training_images: int, holdout: int) -> None:
        self.epochs, self.uses_probe = recipe.train.epochs, recipe.train.checkpoint_selection == "probe"
        validation = min(holdout, recipe.validation.limit) * passes_of_validation(recipe)
        training = training_images * AdversarySchedule(recipe, 1).total_passes
        # passes depend on the recipe alone, so a resumed run validates the same epochs
        affordable = int(MAX_PROBE_SHARE * training / validation) if self.uses_probe else self.epochs
        self.interval = ceil(self.epochs / min(max(affordable, 1), self.epochs))
        self.count = ceil(self.epochs / self.interval)
        self.share = self.count * validation / training

    def includes(self, epoch: int) -> bool:
        """Return whether an epoch, counted from 1, ends with a validation."""
        return (self.epochs - epoch) % self.interval == 0

    def warnings(self) -> Iterator[str]:
        """Yield a warning if only the last epoch is validated, which leaves nothing to select."""
        if self.uses_probe and self.count == 1 < self.epochs:
            yield (
                f"one probe costs {self.share:.1%} of the training, so only the last epoch is validated and becomes "
                "`best`; lower validation.limit to validate more"
            )


def recipe_warnings(recipe: Recipe, image_size: int) -> Iterator[str]:
    """Yield a warning for each key that has no effect or weakens an attack; `image_size` is in pixels a side."""
    train, attack = recipe.train, recipe.attack
    late = [milestone for milestone in train.milestones if milestone >= train.epochs]
    if late:
        yield f"train.milestones {late} are after the last epoch; the learning rate does not decay there"
    defense = recipe.defense
    if defense.awp_warmup_epochs and not any(perturbs_weights(defense, epoch) for epoch in range(train.epochs)):
        yield "defense.awp_warmup_epochs leaves no epoch with AWP; lower it, or raise awp_gamma or train.epochs"
    if getattr(defense, "lr_D", None) == 0:
        yield "defense.lr_D = 0: D_psi is not trained, its accuracy and d_HΔH say nothing; lr_F = 0 leaves out the game"
    for key, epochs in attack.shortened_warmups(train.epochs).items():
        yield f"attack.{key} = {getattr(attack, key):g} is shortened to {epochs:g}, so that it ends with the training"
    if recipe.data.augment == "none" and recipe.data.crop_padding != Data.model_fields["crop_padding"].default:
        yield 'data.crop_padding has no effect; it needs data.augment = "crop" or "crop_flip"'
    if "F_theta" in train.freeze and recipe.model.weights is None:
        yield "train.freeze keeps the random initial weights of F_theta; set model.weights to start from trained ones"
    uses_probe = train.checkpoint_selection == "probe"
    if not uses_probe:
        for key in ("targets", "square_queries"):
            if getattr(recipe.validation, key) != Validation.model_fields[key].default:
                yield f'validation.{key} has no effect; it needs train.checkpoint_selection = "probe"'
    if warning := _weak_adversary(recipe):
        yield warning
    if warning := weak_test(recipe.test, attack):
        yield warning
    norms = [norm for norm in attack.balls if square_starts(norm, image_size, image_size)]
    if norms and 0 < recipe.test.square_queries < ENOUGH_SQUARE_QUERIES:
        yield (
            f"test.square_queries = {recipe.test.square_queries} is too few to detect masked gradients; below "
            f"{ENOUGH_SQUARE_QUERIES} queries, an accuracy that Square does not lower is no evidence of robustness"
        )
    blocked = " and ".join(norm for norm in attack.balls if norm not in norms)
    if (uses_probe or recipe.test.square_queries) and blocked:
        yield f"Square does not run: in {blocked} it cannot start on images of {image_size} x {image_size} pixels"


def _weak_adversary(recipe: Recipe) -> str | None:
    """Warn of a training adversary that cannot cross its ball, as after a change of `steps` or `step_size` alone."""
    attack = recipe.attack
    # without step_size, the length of a step follows `steps`
    if not recipe.descriptor.attacked or attack.step_size is None:
        return None
    # pgd_kl starts beside x, from where the far side of the ball is one epsilon away; a single step, as of FGSM-RS,
    # crosses no ball: it only has to reach its border
    needed = 2 if attack.name == "pgd" and attack.random_start and attack.steps > 1 else 1
    reach = attack.steps * attack.step_size / attack.epsilon
    title = f"training adversary {attack.name} at {attack.epsilon:.4g}"
    warning = describe_short_reach(title, attack.steps, reach, needed)
    return f"{warning}; it trains in a smaller ball (attack.steps, attack.step_size)" if warning else None
