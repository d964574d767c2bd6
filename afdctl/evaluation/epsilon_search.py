"""Strategies over the epsilon grid of an attack, which skip what is already known of a sample.

An image that fools in a ball fools in every larger one, so `ascending` finds at least as much as independent runs.
`descending` takes a sample that was not fooled in a ball to be robust in the smaller ones. An attack that would have
found something only there is rare, but raises the accuracy. Both need a model that answers alike each time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from afdctl import registry
from afdctl.attacks.base import NOT_FOUND, AttackResult, Model, is_misclassified
from afdctl.attacks.cascade import cascade, within
from afdctl.attacks.library_attack import run_library_attack
from afdctl.attacks.norms import clip_to_ball, lp_norm, per_sample
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.attacks.user_attack import run_user_attack
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.autoattack import AA

# Attack results by epsilon
Results = dict[float, AttackResult]
# Attacks the samples with the indices (m,) of a batch at one epsilon
AttackAtEpsilon = Callable[[float, Tensor], AttackResult]


def attack_grid(
    spec: AttackConfig, model: Model, x: Tensor, y: Tensor, *, rng: Callable[[float], SampleRNG]
) -> Results:
    """Attack correctly classified samples x (n, c, h, w), y (n,) at each epsilon of the grid but 0.

    `rng` returns the random streams of the whole batch at an epsilon; a minimum-norm attack gets those of 0. Passes are
    counted at the epsilon that they were spent at, those of one search for the whole grid at its first.
    """
    batch = BatchUnderAttack(model=model, x=x, y=y, rng=rng)
    epsilons = [epsilon for epsilon in spec.epsilons if epsilon > 0]
    if spec.order == "once":
        return single_search(batch, spec, epsilons)
    attack: AttackAtEpsilon = partial(batch.attack, spec)
    if isinstance(spec, AA) and spec.order != "independent":
        attack = AutoAttackOverGrid(batch, spec)
    return STRATEGIES[spec.order](batch, spec.norm, attack, epsilons)


@dataclass
class BatchUnderAttack:
    """Samples under attack: x (n, c, h, w), y (n,), and their random streams at an epsilon."""

    model: Model
    x: Tensor
    y: Tensor
    rng: Callable[[float], SampleRNG]

    @property
    def indices(self) -> Tensor:
        """The indices (n,) of all samples."""
        return torch.arange(len(self.x), device=self.x.device)

    def attack(self, spec: AttackConfig, epsilon: float, indices: Tensor, **options: Any) -> AttackResult:
        """Attack some samples at one epsilon; `options` are arguments besides the attack's settings."""
        rng = self.rng(0.0 if spec.minimises else epsilon).select(indices)
        settings, x, y = spec.attack_kwargs(), self.x[indices], self.y[indices]
        radius = None if spec.minimises else epsilon
        if spec.user_attack:
            return run_user_attack(
                spec.user_attack, self.model, x, y, rng=rng, epsilon=radius, norm=spec.norm, settings=settings
            )
        if found := spec.library_attack:
            norm = settings.pop("norm")
            return run_library_attack(found, self.model, x, y, rng=rng, epsilon=radius, norm=norm, settings=settings)
        function = registry.load(registry.ATTACKS, spec.name)
        budget = {} if spec.minimises else {"epsilon": epsilon}
        if isinstance(spec, AA):
            settings = {"norm": spec.norm, "parts": [(part.name, part.attack_kwargs()) for part in spec.parts()]}
        if spec.distils:
            # none in an evaluation without a run
            options["substitute"] = getattr(self.model, "substitute", None)
        result: AttackResult = function(
            self.model, self.x[indices], self.y[indices], rng=rng, **budget, **settings, **options
        )
        return result

    def confirm(self, result: AttackResult, indices: Tensor, doubtful: Tensor) -> None:
        """Withdraw successes where `doubtful` (m,) that another pass does not confirm.

        `result` has the rows of the samples `indices` (m,).
        """
        rows = doubtful.nonzero()[:, 0]
        if not len(rows):
            return
        with torch.no_grad():
            fooled = is_misclassified(self.model(result.x_adv[rows]), self.y[indices[rows]])
        result.forwards[rows] += 1
        result.first_success_step[rows] = torch.where(fooled, result.first_success_step[rows], NOT_FOUND)
        result.part[rows] = torch.where(fooled, result.part[rows], NOT_FOUND)


def independent(batch: BatchUnderAttack, norm: str, attack: AttackAtEpsilon, epsilons: list[float]) -> Results:
    """Attack all samples at each epsilon."""
    return {epsilon: attack(epsilon, batch.indices) for epsilon in epsilons}


def ascending(batch: BatchUnderAttack, norm: str, attack: AttackAtEpsilon, epsilons: list[float]) -> Results:
    """Attack from small to large epsilons the samples that are not fooled yet."""
    result, results = AttackResult.empty(batch.x), {}
    for epsilon in epsilons:
        result = without_cost(result)
        _attack_and_confirm(batch, attack, result, epsilon=epsilon, indices=(~result.fooled).nonzero()[:, 0])
        results[epsilon] = result
    return results


def descending(batch: BatchUnderAttack, norm: str, attack: AttackAtEpsilon, epsilons: list[float]) -> Results:
    """Attack from large to small epsilons the samples that were fooled in the larger ball.

    An image from the larger ball that is inside the smaller one counts there without an attack.
    """
    result, results = AttackResult.empty(batch.x), {}
    vulnerable = torch.ones_like(batch.y, dtype=torch.bool)
    for epsilon in reversed(epsilons):
        larger, result = result, AttackResult.empty(batch.x)
        inside = within(larger, batch.x, epsilon, norm).fooled.nonzero()[:, 0]
        result.update(inside, without_cost(larger.select(inside)))
        remaining = (vulnerable & ~result.fooled).nonzero()[:, 0]
        _attack_and_confirm(batch, attack, result, epsilon=epsilon, indices=remaining)
        results[epsilon] = result
        vulnerable = result.fooled
    return {epsilon: results[epsilon] for epsilon in epsilons}


STRATEGIES: Final = {"independent": independent, "ascending": ascending, "descending": descending}


def single_search(batch: BatchUnderAttack, spec: AttackConfig, epsilons: list[float]) -> Results:
    """Run a minimum-norm attack once for the grid; an image outside a ball may still fool after clipping to it."""
    search, results = batch.attack(spec, 0.0, batch.indices), {}
    for epsilon in epsilons:
        result = search.select(batch.indices)
        outside = search.fooled & (lp_norm(search.x_adv - batch.x, spec.norm) > epsilon)
        clipped = clip_to_ball(search.x_adv, batch.x, epsilon, spec.norm)
        result.x_adv = torch.where(per_sample(outside, batch.x), clipped, search.x_adv)
        batch.confirm(result, batch.indices, outside)
        results[epsilon] = result
        # the first epsilon has paid for the search
        search = without_cost(search)
    return results


class AutoAttackOverGrid:
    """AutoAttack over a grid: FAB-T minimises the norm whatever the epsilon, so it searches each sample once."""

    def __init__(self, batch: BatchUnderAttack, spec: AA) -> None:
        self._batch, self._parts = batch, spec.parts()
        self._nearest = AttackResult.empty(batch.x)
        self._searched = torch.zeros_like(batch.y, dtype=torch.bool)

    def __call__(self, epsilon: float, indices: Tensor) -> AttackResult:
        """Look up what FAB-T found, then run each part on the samples that the parts before it did not fool."""
        result = self._within(epsilon, indices)
        # rows of `result`, which has one for each of the batch's samples `indices`
        remaining_rows = (~result.fooled).nonzero()[:, 0]
        if len(remaining_rows):
            remaining_indices = indices[remaining_rows]
            run_part = partial(self._run_part, epsilon, remaining_indices)
            parts = [partial(run_part, part) for part in self._parts]
            result.update(remaining_rows, cascade(self._batch.x[remaining_indices], parts))
        return result

    def _run_part(
        self, epsilon: float, cascade_indices: Tensor, spec: AttackConfig, cascade_rows: Tensor
    ) -> AttackResult:
        """Run a part on some rows of the cascade, whose samples have `cascade_indices` in the batch."""
        indices = cascade_indices[cascade_rows]
        if not spec.minimises:
            return self._batch.attack(spec, epsilon, indices)
        new = ~self._searched[indices]
        if new.any():
            # where few samples remain, several of their classes share a batch
            search = self._batch.attack(spec, epsilon, indices[new], max_batch=len(self._batch.x))
            self._nearest.update(indices[new], search)
            self._searched[indices] = True
        result = self._within(epsilon, indices)
        cost = self._nearest.select(indices)
        result.forwards, result.backwards = cost.forwards * new, cost.backwards * new
        return result

    def _within(self, epsilon: float, indices: Tensor) -> AttackResult:
        """Return FAB-T's nearest images as successes where they are inside the ball, without their cost."""
        nearest = without_cost(self._nearest.select(indices))
        result = within(nearest, self._batch.x[indices], epsilon, self._parts[0].norm)
        number = next(number for number, part in enumerate(self._parts) if part.minimises)
        result.part = torch.where(result.fooled, number, NOT_FOUND)
        return result


def without_cost(result: AttackResult) -> AttackResult:
    """Copy a result with no passes, and no faults of the x' that they brought."""
    zeros = torch.zeros_like(result.forwards)
    return AttackResult(
        x_adv=result.x_adv.clone(),
        first_success_step=result.first_success_step.clone(),
        forwards=zeros,
        backwards=zeros.clone(),
        part=result.part.clone(),
        fault=zeros.clone(),
    )


def _attack_and_confirm(
    batch: BatchUnderAttack, attack: AttackAtEpsilon, result: AttackResult, *, epsilon: float, indices: Tensor
) -> None:
    """Attack some samples into `result`; a success must be confirmed before later epsilons skip its sample."""
    if len(indices):
        update = attack(epsilon, indices)
        batch.confirm(update, indices, update.fooled)
        result.update(indices, update)
