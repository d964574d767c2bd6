"""The contract of AutoAttack's parts: true claims, complete counts, any number of classes, no side effects."""

import random
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from afdctl.attacks.base import NOT_FOUND
from afdctl.attacks.norms import lp_norm
from tests.attacks.short import EPSILON, NAMES, PARTS, attack, images, net, setting

every_attack = pytest.mark.parametrize("name", NAMES)
every_norm = pytest.mark.parametrize("norm", EPSILON)


@every_attack
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 9, 10, 100])
def test_claims_are_true_for_any_number_of_classes(name: str, classes: int):
    model = net(classes)
    x, y = images(model)
    short = setting(name)
    found = attack(short, model, x, y)
    assert short.minimises or lp_norm(found.x_adv - x, short.norm).max() <= short.epsilon * (1 + 1e-5)
    assert found.x_adv.min() >= 0
    assert found.x_adv.max() <= 1
    assert torch.equal(model(found.x_adv).argmax(1) != y, found.fooled)
    assert found.fooled.any()
    assert torch.equal(found.part == NOT_FOUND, ~found.fooled | (name != "aa"))


@every_norm
@pytest.mark.parametrize("name", PARTS)
def test_counts_every_image_that_the_model_sees(name: str, norm: str):
    model = net(10)
    x, y = images(model)
    seen = torch.zeros(2)

    def backward(gradient: Tensor) -> None:
        seen[1] += len(gradient)

    def counting(x: Tensor) -> Tensor:
        seen[0] += len(x)
        if x.requires_grad:
            x.register_hook(backward)
        logits: Tensor = model(x)
        return logits

    found = attack(setting(name, norm), counting, x, y)
    assert [found.forwards.sum(), found.backwards.sum()] == seen.tolist()
    assert found.forwards.min() < found.forwards.max() or name in ("apgd_ce", "fab_t")


def test_sees_the_first_success_step():
    """The first iterate whose logits fool; for Square, the least number of queries that suffices."""
    model = net(10)
    x, y = images(model)
    found = attack(setting("apgd_ce", steps=20), model, x, y)
    late = found.first_success_step.argmax()
    assert found.first_success_step[late] > 1
    fooling: list[bool] = []

    def recorder(image: Tensor) -> Tensor:
        logits: Tensor = model(image)
        fooling.append(bool(logits.argmax(1) != y[late]))
        return logits

    alone = attack(setting("apgd_ce", steps=20), recorder, x[late, None], y[late, None])
    # the first call looks at x
    assert fooling[1:].index(True) == alone.first_success_step.item()

    found = attack(setting("square", queries=60), model, x, y)
    queries = int(found.first_success_step.max())
    assert queries > 1
    fewer = attack(setting("square", queries=queries - 1), model, x, y)
    assert torch.equal(fewer.fooled, found.fooled & (found.first_success_step < queries))


@every_attack
def test_leaves_no_trace(name: str):
    model = net(10)
    x, y = images(model)
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    trace, before = sys.gettrace(), x.clone()
    attack(setting(name), model, x, y)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert random.getstate() == python_state
    assert sys.gettrace() is trace
    assert torch.equal(x, before)
    assert x.grad is None
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@every_attack
def test_prints_and_logs_nothing(name: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    """Not even where the model has no slope, which the library warns of."""
    x, y = images(net(10))
    found = attack(setting(name), lambda x: torch.nn.functional.one_hot(y[: len(x)], 10).float() + 0 * x.sum(), x, y)
    assert not found.fooled.any()
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@every_attack
def test_nan_is_no_success(name: str):
    model = net(10)
    x, y = images(model)
    label = y.mode()[0]
    x, y = x[y == label], y[y == label]

    def broken_beyond_the_boundary(image: Tensor) -> Tensor:
        logits: Tensor = model(image)
        return torch.where(logits.argmax(1, keepdim=True) == label, logits, torch.nan)

    assert attack(setting(name), model, x, y).fooled.any()
    found = attack(setting(name), broken_beyond_the_boundary, x, y)
    assert not found.fooled.any()
    assert found.x_adv.isfinite().all()


@every_attack
def test_takes_any_layout_and_no_samples(name: str):
    model = net(4, channels=3)
    x, y = images(model, n=8, shape=(3, 10, 10))
    found = attack(setting(name), model, x.to(memory_format=torch.channels_last), y.int())
    assert torch.equal(found.x_adv, attack(setting(name), model, x, y).x_adv)
    assert len(attack(setting(name), model, x[:0], y[:0]).x_adv) == 0


@every_norm
@pytest.mark.parametrize("side", [4, 5, 8, 14, 19, 28])
def test_square_runs_on_any_image(norm: str, side: int):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 4))
    x, y = images(model, n=8, shape=(1, side, side))
    found = attack(setting("square", norm), model, x, y)
    assert torch.equal(model(found.x_adv).argmax(1) != y, found.fooled)


def test_one_sample_at_the_boundary_hides_no_other():
    """FAB leaves a sample out that it takes for misclassified, so its calls are smaller than the batch."""
    model = net(10)
    x, y = images(model)
    asked = []

    def wavering(image: Tensor) -> Tensor:
        logits: Tensor = model(image)
        asked.append(len(image))
        # it is misclassified from the second call on
        if len(asked) > 1 and len(image) == len(x):
            logits = logits.clone()
            logits[0] = -logits[0]
        return logits

    found = attack(setting("fab_t"), wavering, x, y)
    assert found.fooled[1:].all()
    assert found.forwards.sum() == sum(asked)


def test_takes_the_authors_package_where_the_other_is_missing(monkeypatch: pytest.MonkeyPatch):
    model = net(10)
    x, y = images(model)
    expected = attack(setting("aa"), model, x, y)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyautoattack"]:
        monkeypatch.setitem(sys.modules, name.removeprefix("py"), sys.modules[name])
        monkeypatch.setitem(sys.modules, name, None)
    assert torch.equal(attack(setting("aa"), model, x, y).x_adv, expected.x_adv)
