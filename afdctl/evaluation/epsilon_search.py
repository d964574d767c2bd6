"""How a sweep goes through an attack's grid of epsilons, so that no sample pays for what is known of it already.

A fooling x' is one in every larger ball, so `ascending` can only find more than independent runs do. `descending` takes
a sample that stood for one that stands in every smaller ball: that an attack misses there and would have found here is
rare, but raises the accuracy. Both need a model that answers alike each time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from afdctl import registry
from afdctl.attacks.autoattack import cascade, within
from afdctl.attacks.base import NOT_FOUND, AttackResult, Model, is_misclassified
from afdctl.attacks.norms import clip_to_ball, lp_norm, per_sample
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.schema import AA

Attack = Callable[[float, Tensor], AttackResult]
"""Attacks samples by their numbers (m,) at one epsilon."""


def attack_grid(
    spec: AttackConfig, model: Model, x: Tensor, y: Tensor, draws: Callable[[float], SampleRNG]
) -> dict[float, AttackResult]:
    """What `spec` finds at each of its epsilons but 0, for samples x (n, c, h, w), y (n,) that are classified rightly.

    `draws` gives the streams of the whole batch at an epsilon; an attack that minimises a norm gets those of 0. Passes
    are counted at the epsilon that they were spent at, and a run for a whole grid at its first.
    """
    batch = Batch(model, x, y, draws)
    epsilons = [epsilon for epsilon in spec.epsilons if epsilon > 0]
    if spec.order == "once":
        return single_search(batch, spec, epsilons)
    attack: Attack = partial(batch.run, spec)
    if isinstance(spec, AA) and spec.order != "independent":
        attack = AutoAttackOverGrid(batch, spec)
    return ORDERS[spec.order](batch, spec.norm, attack, epsilons)


@dataclass
class Batch:
    """Samples under attack."""

    model: Model
    x: Tensor
    y: Tensor
    draws: Callable[[float], SampleRNG]

    def run(self, spec: AttackConfig, epsilon: float, rows: Tensor, **more: Any) -> AttackResult:
        """Attack the samples with the numbers `rows` (m,) at one epsilon; `more` are further arguments."""
        attack = registry.load(registry.ATTACKS, spec.name)
        budget = {} if spec.minimises else {"epsilon": epsilon}
        kwargs = spec.attack_kwargs()
        if isinstance(spec, AA):
            kwargs = {"norm": spec.norm, "parts": [(part.name, part.attack_kwargs()) for part in spec.parts()]}
        draws = self.draws(0.0 if spec.minimises else epsilon).select(rows)
        found: AttackResult = attack(self.model, self.x[rows], self.y[rows], rng=draws, **budget, **kwargs, **more)
        return found

    @property
    def rows(self) -> Tensor:
        """The numbers of all samples."""
        return torch.arange(len(self.x), device=self.x.device)

    def confirm(self, found: AttackResult, rows: Tensor, which: Tensor) -> None:
        """Keep success of `found`, whose rows are the samples `rows`, where `which` (m,) only if x' fools afresh."""
        at = which.nonzero()[:, 0]
        if not len(at):
            return
        with torch.no_grad():
            fooled = is_misclassified(self.model(found.x_adv[at]), self.y[rows[at]])
        found.forwards[at] += 1
        found.first_success_step[at] = torch.where(fooled, found.first_success_step[at], NOT_FOUND)
        found.part[at] = torch.where(fooled, found.part[at], NOT_FOUND)


def independent(batch: Batch, norm: str, attack: Attack, epsilons: list[float]) -> dict[float, AttackResult]:
    """All samples at each epsilon."""
    return {epsilon: attack(epsilon, batch.rows) for epsilon in epsilons}


def ascending(batch: Batch, norm: str, attack: Attack, epsilons: list[float]) -> dict[float, AttackResult]:
    """A sample that is fooled in a ball stays fooled in the larger ones."""
    found, grid = AttackResult.empty(batch.x), {}
    for epsilon in epsilons:
        found = without_cost(found)
        _attack(batch, attack, found, epsilon, (~found.fooled).nonzero()[:, 0])
        grid[epsilon] = found
    return grid


def descending(batch: Batch, norm: str, attack: Attack, epsilons: list[float]) -> dict[float, AttackResult]:
    """A sample that stands in a ball is taken to stand in the smaller ones; an x' that lies in these counts at once."""
    found, grid = AttackResult.empty(batch.x), {}
    attacked = torch.ones_like(batch.y, dtype=torch.bool)
    for epsilon in reversed(epsilons):
        above, found = found, AttackResult.empty(batch.x)
        near = (within(above, batch.x, epsilon, norm).fooled).nonzero()[:, 0]
        found.update(near, without_cost(above.select(near)))
        _attack(batch, attack, found, epsilon, (attacked & ~found.fooled).nonzero()[:, 0])
        grid[epsilon] = found
        attacked = found.fooled
    return {epsilon: grid[epsilon] for epsilon in epsilons}


ORDERS: Final = {"independent": independent, "ascending": ascending, "descending": descending}


def single_search(batch: Batch, spec: AttackConfig, epsilons: list[float]) -> dict[float, AttackResult]:
    """One run for the whole grid: where an x' lies outside a ball, what remains of it inside may fool as well."""
    run, grid = batch.run(spec, 0.0, batch.rows), {}
    for epsilon in epsilons:
        found = run.select(batch.rows)
        outside = run.fooled & (lp_norm(run.x_adv - batch.x, spec.norm) > epsilon)
        inside = clip_to_ball(run.x_adv, batch.x, epsilon, spec.norm)
        found.x_adv = torch.where(per_sample(outside, batch.x), inside, run.x_adv)
        batch.confirm(found, batch.rows, outside)
        grid[epsilon] = found
        run = without_cost(run)
    return grid


class AutoAttackOverGrid:
    """AutoAttack over a grid: the nearest x' of FAB-T, which no epsilon matters to, is looked for once a sample."""

    def __init__(self, batch: Batch, spec: AA) -> None:
        self._batch, self._parts = batch, spec.parts()
        self._nearest = AttackResult.empty(batch.x)
        self._sought = torch.zeros_like(batch.y, dtype=torch.bool)

    def __call__(self, epsilon: float, rows: Tensor) -> AttackResult:
        """Each part on the samples that stand before it, but first what is known already."""
        found = self._known(epsilon, rows)
        left = (~found.fooled).nonzero()[:, 0]
        if len(left):
            part = partial(self._part, epsilon, rows[left])
            found.update(left, cascade(self._batch.x[rows[left]], [partial(part, spec) for spec in self._parts]))
        return found

    def _part(self, epsilon: float, rows: Tensor, spec: AttackConfig, standing: Tensor) -> AttackResult:
        rows = rows[standing]
        if not spec.minimises:
            return self._batch.run(spec, epsilon, rows)
        new = ~self._sought[rows]
        if new.any():
            run = self._batch.run(spec, epsilon, rows[new], max_batch=len(self._batch.x))
            self._nearest.update(rows[new], run)
            self._sought[rows] = True
        found = self._known(epsilon, rows)
        spent = self._nearest.select(rows)
        found.forwards, found.backwards = spent.forwards * new, spent.backwards * new
        return found

    def _known(self, epsilon: float, rows: Tensor) -> AttackResult:
        found = within(without_cost(self._nearest.select(rows)), self._batch.x[rows], epsilon, self._parts[0].norm)
        number = next(number for number, part in enumerate(self._parts) if part.minimises)
        found.part = torch.where(found.fooled, number, NOT_FOUND)
        return found


def without_cost(found: AttackResult) -> AttackResult:
    """The same at no cost, and with tensors of its own."""
    none = torch.zeros_like(found.forwards)
    return AttackResult(found.x_adv.clone(), found.first_success_step.clone(), none, none.clone(), found.part.clone())


def _attack(batch: Batch, attack: Attack, found: AttackResult, epsilon: float, rows: Tensor) -> None:
    """Attack some samples; nobody is spared later for a success that a fresh pass does not confirm."""
    if len(rows):
        result = attack(epsilon, rows)
        batch.confirm(result, rows, result.fooled)
        found.update(rows, result)
