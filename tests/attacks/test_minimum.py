"""The contract of every attack that minimises a norm."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from afdctl.attacks.base import NOT_FOUND
from tests.attacks.smallest import ATTACKS, attack, conv, images

every_attack = pytest.mark.parametrize("name", ATTACKS)


class Counted(nn.Module):
    """Counts the images that pass through a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.forwards = model, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        logits: Tensor = self.model(x)
        return logits


@every_attack
@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (3, 2), (3, 3), (1, 200)])
def test_claimed_successes_fool_the_model(name: str, channels: int, classes: int):
    model, x = conv(channels, classes), images(16, channels)
    y = model(x).argmax(1)
    found = attack(name, model, x, y)
    assert found.fooled.float().mean() > 0.7
    assert torch.equal(model(found.x_adv).argmax(1) != y, found.fooled)
    assert torch.equal(found.x_adv[~found.fooled], x[~found.fooled])
    assert found.x_adv.min() >= 0
    assert found.x_adv.max() <= 1
    assert (found.first_success_step[found.fooled] > 0).all()
    assert (found.part == NOT_FOUND).all()


@every_attack
def test_counts_its_passes(name: str):
    model = Counted(conv())
    x = images(16)
    y = model(x).argmax(1)
    model.forwards = 0
    found = attack(name, model, x, y)
    assert model.forwards == found.forwards.sum()
    assert found.backwards.max() > 0


@every_attack
def test_misclassified_samples_are_not_attacked(name: str):
    model, x = conv(), images(12)
    y = model(x).argmax(1)
    y[::3] = (y[::3] + 1) % 10
    found = attack(name, model, x, y)
    assert torch.equal(found.x_adv[::3], x[::3])
    assert (found.first_success_step[::3] == 0).all()
    assert (found.forwards[::3] == 1).all()
    alone = attack(name, model, x[1:2], y[1:2], range(1, 2))
    assert (alone.x_adv - found.x_adv[1:2]).abs().max() < 1e-3


@every_attack
def test_leaves_model_and_random_state_alone(name: str):
    model, x = conv(), images(8)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    before, given = torch.get_rng_state(), x.clone()
    attack(name, model, x, model(x).argmax(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, given)
    assert not model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@every_attack
def test_does_not_depend_on_the_batch(name: str):
    model, x = conv(dtype=torch.double), images(40, dtype=torch.double)
    y, knobs = model(x).argmax(1), {"steps": 30}
    whole = attack(name, model, x, y, **knobs)
    for size, end in ((5, 40), (1, 6)):
        starts = range(0, end, size)
        parts = [attack(name, model, x[i : i + size], y[i : i + size], range(i, i + size), **knobs) for i in starts]
        for field in ("first_success_step", "forwards", "backwards"):
            assert torch.equal(torch.cat([getattr(part, field) for part in parts]), getattr(whole, field)[:end]), field
        # to the rounding of sums whose order depends on the batch
        assert (torch.cat([part.x_adv for part in parts]) - whole.x_adv[:end]).abs().max() < 1e-8


@every_attack
@pytest.mark.parametrize("n", [0, 1])
def test_small_batches(name: str, n: int):
    model, x = conv(3), images(n, 3)
    found = attack(name, model, x, model(x).argmax(1))
    assert found.x_adv.shape == x.shape
    assert found.first_success_step.shape == found.forwards.shape == (n,)


class Holed(nn.Module):
    """A model whose logits are NaN for bright images."""

    def __init__(self, model: nn.Module, limit: float) -> None:
        super().__init__()
        self.model, self.limit = model, limit

    def forward(self, x: Tensor) -> Tensor:
        bright = x.flatten(1).mean(1, keepdim=True) > self.limit
        return self.model(x) + torch.where(bright, torch.nan, 0)


@every_attack
def test_nan_is_no_success_and_changes_no_other_sample(name: str):
    x = images(12, dtype=torch.double)
    x[::2] = 0.5 + x[::2] / 2
    plain = conv(dtype=torch.double)
    y, holed = plain(x).argmax(1), Holed(plain, 0.62)
    assert holed(x)[::2].isnan().all()
    found, usual = attack(name, holed, x, y), attack(name, plain, x, y)
    logits = holed(found.x_adv)
    # DDN walks out of the hole at random, and may well find something
    assert not logits[found.fooled].isnan().any()
    assert torch.equal((logits.argmax(1) != y)[found.fooled], torch.ones(len(x), dtype=torch.bool)[found.fooled])
    assert torch.equal(found.x_adv[~found.fooled], x[~found.fooled])
    assert name == "ddn" or not found.fooled[::2].any()
    assert (found.x_adv - usual.x_adv)[1::2].abs().max() < 1e-8
    assert found.fooled[1::2].all()


class Constant(nn.Module):
    """The same logits for all images."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0, 0.5], dtype=x.dtype) + 0 * x.flatten(1)[:, :3]


@every_attack
def test_a_failure_returns_x(name: str):
    x, y = images(6), torch.zeros(6, dtype=torch.long)
    found = attack(name, Constant(), x, y)
    assert torch.equal(found.x_adv, x)
    assert (found.first_success_step == NOT_FOUND).all()


@every_attack
@pytest.mark.parametrize("steps", [1, 2])
def test_too_few_steps_return_x(name: str, steps: int):
    model, x = conv(dtype=torch.double), images(12, dtype=torch.double)
    y = model(x).argmax(1)
    knobs: dict[str, Any] = {"ddn": {"init_epsilon": 0.01}, "cw": {"step_size": 1e-4}}.get(name, {})
    if steps == 1 and name.startswith("deepfool"):
        knobs = {"overshoot": 0.0}
    found = attack(name, model, x, y, steps=steps, **knobs)
    assert not found.fooled.all()
    assert torch.equal(found.x_adv[~found.fooled], x[~found.fooled])
    assert torch.equal(model(found.x_adv).argmax(1) != y, found.fooled)
