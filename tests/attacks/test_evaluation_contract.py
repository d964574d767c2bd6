"""The contract of every evaluation attack."""

import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from afdctl.attacks.base import AttackResult
from afdctl.attacks.sample_rng import SampleRNG
from tests.attacks.cases import EPSILON, Case, cases, images, length, small_model

every_attack = pytest.mark.parametrize("attack", list(cases()), ids=str)


def fools(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return model(x).argmax(1) != y


def check(attack: Case, x: Tensor, found: AttackResult) -> None:
    """Shapes and types are right, x' is in [0, 1], and in the ball if the attack has one."""
    assert found.x_adv.shape == x.shape
    assert found.x_adv.dtype == x.dtype
    assert ((found.x_adv >= 0) & (found.x_adv <= 1)).all(), "outside the box, or NaN"
    if not attack.minimises:
        delta = found.x_adv.double() - x.double()
        assert (length(delta, attack.norm) <= EPSILON[attack.norm] * (1 + 1e-5)).all()
    for row in (found.first_success_step, found.forwards, found.backwards, found.part):
        assert row.shape == (len(x),)
        assert row.dtype == torch.long


@contextmanager
def nothing_else_changes(model: nn.Module, *given: Tensor) -> Iterator[None]:
    """Fails where the block changes the model, its inputs, any random state, the tracing or the gradient mode."""

    def state() -> list[Any]:
        parameters = [(p.requires_grad, p.grad) for p in model.parameters()]
        numbers = [p.tolist() for p in (*model.state_dict().values(), *given)]
        seeds = [torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()]
        modes = [module.training for module in model.modules()]
        hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
        return [parameters, numbers, seeds, modes, hooks, sys.gettrace(), torch.is_grad_enabled()]

    before = state()
    yield
    for old, new in zip(before, state(), strict=True):
        assert old == new


@every_attack
def test_fools_within_ball_and_box_and_changes_nothing_else(attack: Case):
    model, x = small_model(), images(32)
    y = model(x).argmax(1)
    with nothing_else_changes(model, x, y):
        found = attack(model, x, y)
    check(attack, x, found)
    assert x.untyped_storage().data_ptr() != found.x_adv.untyped_storage().data_ptr()
    assert fools(model, found.x_adv, y).any()
    # one sample may differ: at the boundary a sum in another batch size may round the other way
    assert (fools(model, found.x_adv, y) != found.fooled).sum() <= 1


@every_attack
def test_keeps_the_callers_tracing(attack: Case):
    def trace(frame: Any, event: str, arg: Any) -> None:
        return None

    model, x = small_model(), images(2)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        attack(model, x, model(x).argmax(1))
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)


@every_attack
def test_repeats_itself(attack: Case):
    model, x = small_model(), images(16)
    y = model(x).argmax(1)
    first, again, other = (attack(model, x, y, seed).x_adv for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) is not attack.random


# up to five classes an attack may look at all of them, from ten on at nine others
@pytest.mark.parametrize(("classes", "channels"), [(2, 3), (5, 1), (10, 1), (100, 3)])
@every_attack
def test_any_number_of_classes(attack: Case, classes: int, channels: int):
    model, x = small_model(classes, channels), images(6, channels)
    check(attack, x, attack(model, x, model(x).argmax(1)))


@pytest.mark.parametrize("n", [0, 1])
@every_attack
def test_small_batches(attack: Case, n: int):
    model, x = small_model(), images(n)
    check(attack, x, attack(model, x, model(x).argmax(1)))


@every_attack
def test_misclassified_samples_stay_so(attack: Case):
    model, x = small_model(), images(8)
    y = model(x).argmin(1)
    found = attack(model, x, y)
    check(attack, x, found)
    assert fools(model, found.x_adv, y).all()
    assert found.fooled.all()


class Counting(nn.Module):
    """Counts each image's passes; an iterate belongs to the nearest image."""

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.model, self.x = model, x
        self.forwards: Counter[int] = Counter()
        self.backwards: Counter[int] = Counter()

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            owners = torch.cdist(x.flatten(1), self.x.flatten(1)).argmin(1).tolist()
        self.forwards.update(owners)
        if x.requires_grad:
            x = x.clone()  # a tensor of this pass alone: its hook fires once for each way back through the model
            x.register_hook(lambda gradient: self.backwards.update(owners))
        return self.model(x)


@every_attack
def test_counts_passes_of_each_sample(attack: Case):
    x = images(12)
    model = Counting(small_model(), x)
    y = model.model(x).argmax(1)
    y[:2] = (y[:2] + 1) % 5  # misclassified from the start
    found = attack(model, x, y)
    assert found.forwards.tolist() == [model.forwards[number] for number in range(len(x))]
    assert found.backwards.tolist() == [model.backwards[number] for number in range(len(x))]


class Broken(nn.Module):
    """Answers NaN, in one logit or in all, for images whose last pixel is above 0.7."""

    def __init__(self, model: nn.Module, logits: slice) -> None:
        super().__init__()
        self.model, self.logits = model, logits

    def forward(self, x: Tensor) -> Tensor:
        logits = self.model(x)
        hole = torch.zeros_like(logits)
        hole[:, self.logits] = torch.nan
        return torch.where(x[:, 0, -1, -1:] > 0.7, logits + hole, logits)


@pytest.mark.parametrize("logits", [slice(None), slice(0, 1), slice(4, 5)], ids=["all", "first", "last"])
@every_attack
def test_nan_is_no_success_and_spoils_no_other_sample(attack: Case, logits: slice):
    sound, x = small_model(), images(40)
    if attack.by_sample:
        sound, x = sound.double(), x.double()
    x[:, 0, -1, -1] = torch.where(torch.arange(40) < 8, 0.95, 0.2)
    y = sound(x).argmax(1)
    model = Broken(sound, logits)
    found = attack(model, x, y)
    check(attack, x, found)
    answers = model(found.x_adv)
    assert not (found.fooled & answers.isnan().any(1)).any()
    assert (found.fooled & (answers.argmax(1) != y))[8:].any()
    if attack.by_sample:
        assert (found.fooled | answers.isnan().any(1))[:8].all(), "x' hides that the model has no answer"
        alone = attack(model, x[8:], y[8:], SampleRNG(0, "test", range(8, 40)))
        assert torch.allclose(found.x_adv[8:], alone.x_adv, rtol=0, atol=1e-9)


@every_attack
def test_a_sample_does_not_depend_on_its_batch(attack: Case):
    if not attack.by_sample:
        pytest.skip("draws for a batch")
    model, x = small_model().double(), images(40).double()
    y = model(x).argmax(1)
    whole = attack(model, x, y)
    for size in (5, 1):
        for first in range(0, 40, size * 4):
            rows = slice(first, first + size)
            part = attack(model, x[rows], y[rows], SampleRNG(0, "test", range(first, first + size)))
            # sums over a batch of another size may round differently
            assert torch.allclose(part.x_adv, whole.x_adv[rows], rtol=0, atol=1e-9)
            assert torch.equal(part.first_success_step, whole.first_success_step[rows])
            assert torch.equal(part.forwards, whole.forwards[rows])
