"""AutoAttack's parts and their worst case: equal to the library's, near the optimum, harmless to what they touch."""

import random
import sys
from typing import Any

import numpy as np
import pytest
import torch
from pyautoattack import AutoAttack
from torch import Generator, Tensor, nn

from afdctl import registry
from afdctl.attacks.autoattack import NORMS
from afdctl.attacks.draws import Draws
from afdctl.attacks.found import NEVER, Found
from afdctl.attacks.pgd import pgd_ce
from afdctl.attacks.watched import length
from afdctl.profile.schema import ATTACKS, Spec
from tests.attacks.linear import model_and_images

PARTS = ["apgd_ce", "apgd_t", "fab_t", "square"]
NAMES = [*PARTS, "apgd_l1", "aa"]
EPSILON = {"linf": 0.025, "l2": 0.15, "l1": 1.0}
SHORT = {"steps": 4, "queries": 25}
every_attack = pytest.mark.parametrize("name", NAMES)
every_norm = pytest.mark.parametrize("norm", NORMS)


def net(classes: int, channels: int = 1) -> nn.Module:
    """A small random network for images (n, channels, 10, 10), which gives all classes a chance; it wants gradients."""
    torch.manual_seed(classes)
    convolution = nn.Conv2d(channels, 6, 3, 3)
    model = nn.Sequential(
        convolution, nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(54, momentum=None), nn.Linear(54, classes)
    )
    model(torch.rand(500, channels, 10, 10))
    return model.eval()


def images(model: nn.Module, n: int = 24, shape: tuple[int, ...] = (1, 10, 10)) -> tuple[Tensor, Tensor]:
    """Random images, and the labels that the model gives them."""
    x = torch.rand((n, *shape), generator=Generator().manual_seed(1))
    return x, model(x).argmax(1)


def spec(name: str, norm: str = "linf", epsilon: float | None = None, **knobs: Any) -> Spec:
    short = {key: value for key, value in SHORT.items() if key in ATTACKS[name].model_fields}
    norm = "l1" if name == "apgd_l1" else norm
    return ATTACKS[name](name=name, norm=norm, epsilons=(0.0, epsilon or EPSILON[norm]), **short | knobs)


def attack(spec: Spec, model: Any, x: Tensor, y: Tensor) -> Found:
    """What the attack finds at the one epsilon of its specification."""
    budget = {} if spec.minimises else {"epsilon": spec.epsilons[1]}
    draws = Draws(3, "autoattack", range(len(x)))
    found: Found = registry.load(registry.ATTACKS, spec.name)(model, x, y, draws=draws, **budget, **spec.knobs())
    return found


def library(model: nn.Module, n: int, norm: str, classes: int = 10, steps: int = 4, queries: int = 25) -> AutoAttack:
    """The library's own evaluation of `n` images, shortened where its steps are fewer than its 100."""
    theirs = AutoAttack(model, norm=NORMS[norm], eps=EPSILON[norm], seed=Draws(3, "autoattack", range(n)).seed)
    for apgd in (theirs.apgd, theirs.apgd_targeted):
        apgd.n_iter = apgd.n_iter_orig = steps
        for key, share in {"n_iter_2": 0.22, "n_iter_min": 0.06, "size_decr": 0.03}.items():
            setattr(apgd, key, max(int(share * steps), 1))
    for targeted in (theirs.apgd_targeted, theirs.fab):
        targeted.n_target_classes = min(targeted.n_target_classes, classes - 1)
    theirs.fab.n_iter, theirs.square.n_queries = steps, queries
    return theirs


@every_norm
@pytest.mark.parametrize("classes", [10, 5])
@pytest.mark.parametrize(
    ("steps", "queries"), [(4, 25), pytest.param(100, 5000, marks=pytest.mark.slow)], ids=["short", "whole"]
)
def test_is_the_library_bit_by_bit(norm: str, classes: int, steps: int, queries: int):
    model = net(classes).requires_grad_(False)
    x, y = images(model, n=16)
    y[:3] = (y[:3] + 1) % classes
    found = attack(spec("aa", norm, steps=steps, queries=queries), model, x, y)
    theirs = library(model, len(x), norm, classes, steps, queries)
    with torch.random.fork_rng(devices=[]):
        assert torch.equal(found.x_adv, theirs.run_standard_evaluation(x, y, batch_size=len(x))[0])
    assert 3 < found.fooled.sum() < len(x)
    assert found.first_success[:3].tolist() == [0, 0, 0]
    assert torch.equal(found.x_adv[~found.fooled], x[~found.fooled])


@every_norm
@pytest.mark.parametrize("part", ["apgd_ce", "apgd_t", "square"])
def test_each_part_is_the_library_bit_by_bit(part: str, norm: str):
    model = net(10).requires_grad_(False)
    x, y = images(model)
    theirs = library(model, len(x), norm)
    component = {"apgd_ce": theirs.apgd, "apgd_t": theirs.apgd_targeted, "square": theirs.square}[part]
    knobs = next(each for each in spec("aa", norm).parts() if each.name == part).knobs()
    found = attack(spec(part, **knobs), model, x, y)
    component.seed, component.loss = theirs.seed, {"apgd_ce": "ce"}.get(part, component.loss)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        x_adv = component.perturb(x, y)
    assert found.fooled.any()
    assert torch.equal(found.fooled, model(x_adv).argmax(1) != y)
    assert torch.equal(found.x_adv[found.fooled], x_adv[found.fooled])


@every_attack
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 9, 10, 100])
def test_keeps_its_word_for_any_number_of_classes(name: str, classes: int):
    model = net(classes)
    x, y = images(model)
    setting = spec(name)
    found = attack(setting, model, x, y)
    assert setting.minimises or length(found.x_adv - x, setting.norm).max() <= setting.epsilons[1] * (1 + 1e-5)
    assert found.x_adv.min() >= 0
    assert found.x_adv.max() <= 1
    assert torch.equal(model(found.x_adv).argmax(1) != y, found.fooled)
    assert found.fooled.any()
    forwards, backwards = setting.passes(classes)
    assert found.forwards.max() <= forwards
    assert found.backwards.max() <= backwards
    assert torch.equal(found.part == NEVER, ~found.fooled | (name != "aa"))


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

    found = attack(spec(name, norm), counting, x, y)
    assert [found.forwards.sum(), found.backwards.sum()] == seen.tolist()
    assert found.forwards.min() < found.forwards.max() or name in ("apgd_ce", "fab_t")


def test_sees_the_first_success():
    """The first iterate whose logits fool; for Square, the least number of queries that suffices."""
    model = net(10)
    x, y = images(model)
    found = attack(spec("apgd_ce", steps=20), model, x, y)
    late = found.first_success.argmax()
    assert found.first_success[late] > 1
    fooling: list[bool] = []

    def recorder(image: Tensor) -> Tensor:
        logits: Tensor = model(image)
        fooling.append(bool(logits.argmax(1) != y[late]))
        return logits

    alone = attack(spec("apgd_ce", steps=20), recorder, x[late, None], y[late, None])
    # the first call looks at x
    assert fooling[1:].index(True) == alone.first_success.item()

    found = attack(spec("square", queries=60), model, x, y)
    queries = int(found.first_success.max())
    assert queries > 1
    fewer = attack(spec("square", queries=queries - 1), model, x, y)
    assert torch.equal(fewer.fooled, found.fooled & (found.first_success < queries))


@every_attack
def test_leaves_no_trace(name: str):
    model = net(10)
    x, y = images(model)
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    trace, before = sys.gettrace(), x.clone()
    attack(spec(name), model, x, y)
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
    found = attack(spec(name), lambda x: torch.nn.functional.one_hot(y[: len(x)], 10).float() + 0 * x.sum(), x, y)
    assert not found.fooled.any()
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@every_attack
def test_a_nan_fools_nobody(name: str):
    model = net(10)
    x, y = images(model)
    label = y.mode()[0]
    x, y = x[y == label], y[y == label]

    def broken_beyond_the_boundary(image: Tensor) -> Tensor:
        logits: Tensor = model(image)
        return torch.where(logits.argmax(1, keepdim=True) == label, logits, torch.nan)

    assert attack(spec(name), model, x, y).fooled.any()
    found = attack(spec(name), broken_beyond_the_boundary, x, y)
    assert not found.fooled.any()
    assert found.x_adv.isfinite().all()


@every_attack
def test_takes_any_layout_and_no_samples(name: str):
    model = net(4, channels=3)
    x, y = images(model, n=8, shape=(3, 10, 10))
    found = attack(spec(name), model, x.to(memory_format=torch.channels_last), y.int())
    assert torch.equal(found.x_adv, attack(spec(name), model, x, y).x_adv)
    assert len(attack(spec(name), model, x[:0], y[:0]).x_adv) == 0


@every_norm
@pytest.mark.parametrize("side", [4, 5, 8, 14, 19, 28])
def test_square_runs_on_any_image(norm: str, side: int):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 4))
    x, y = images(model, n=8, shape=(1, side, side))
    found = attack(spec("square", norm), model, x, y)
    assert torch.equal(model(found.x_adv).argmax(1) != y, found.fooled)


def radii(model: nn.Linear, x: Tensor, y: Tensor) -> Tensor:
    """The least L-infinity epsilon (n,) at which a linear model can be fooled inside [0, 1], by bisection."""
    x = x.flatten(1)
    w = model.weight[None] - model.weight[y][:, None]
    gap = -(w * x[:, None]).sum(2) - model.bias + model.bias[y][:, None]
    gap[torch.arange(len(y)), y] = torch.inf
    room = torch.where(w > 0, 1 - x[:, None], x[:, None])
    low, high = torch.zeros_like(gap), torch.ones_like(gap)
    for _ in range(40):
        middle = (low + high) / 2
        enough = (torch.minimum(room, middle[:, :, None]) * w.abs()).sum(2) >= gap
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return high.amin(1).detach()


@pytest.fixture(scope="module")
def linear() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A random linear model of ten classes, 100 images, their labels, and how far each is from the boundary."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    x, y = images(model, n=100, shape=(1, 8, 8))
    layer = model[1]
    assert isinstance(layer, nn.Linear)
    return model, x, y, radii(layer, x, y)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_apgd_t_fools_what_can_be_fooled(linear: tuple[nn.Module, Tensor, Tensor, Tensor], share: float):
    model, x, y, exact = linear
    epsilon = exact.quantile(share).item()
    found = attack(spec("apgd_t", epsilon=epsilon, steps=20), model, x, y)
    assert abs(found.fooled.float().mean().item() - share) <= 0.04
    assert not (found.fooled & (exact > epsilon * (1 + 1e-4))).any()


def test_fab_finds_the_nearest_image(linear: tuple[nn.Module, Tensor, Tensor, Tensor]):
    model, x, y, exact = linear
    found = attack(spec("fab_t", steps=20), model, x, y)
    ratio = length(found.x_adv - x, "linf") / exact
    assert found.fooled.all()
    assert ratio.min() >= 1 - 1e-4
    assert ratio.median() <= 1.02


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_two_classes_are_fooled_wherever_that_is_possible(norm: str):
    """APGD-T takes the margin as its loss here, as its own needs four classes."""
    model, x, y = model_and_images()
    distances = model.distance(x, norm)
    epsilon = distances.median().item()
    for name in ("apgd_t", "aa"):
        fooled = attack(spec(name, norm, epsilon, steps=20), model, x, y).fooled
        assert torch.equal(fooled | (distances > 0.98 * epsilon), torch.ones_like(fooled))
        assert not fooled[distances > 1.0001 * epsilon].any()


@pytest.mark.parametrize("name", ["apgd_t", "fab_t"])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_logits_does_not_matter(name: str, scale: float):
    model = net(10)
    x, y = images(model, n=40)
    plain, scaled = (attack(spec(name), each, x, y) for each in (model, lambda x: scale * model(x)))
    assert (plain.fooled != scaled.fooled).sum() <= 1
    assert plain.fooled.any()
    if name == "fab_t":
        lengths, others = length(plain.x_adv - x, "linf"), length(scaled.x_adv - x, "linf")
        assert (lengths / others).median().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_breaks_what_pgd_breaks(norm: str):
    model = net(10)
    x, y = images(model, n=60)
    found = attack(spec("aa", norm, steps=20, targets=3), model, x, y)
    generator = Generator().manual_seed(0)
    x_adv = pgd_ce(model, x, y, norm=norm, epsilon=EPSILON[norm], steps=20, keep="success_only", generator=generator)
    by_pgd = model(x_adv).argmax(1) != y
    assert (by_pgd & ~found.fooled).sum() <= 1
    assert found.fooled.sum() >= by_pgd.sum() > 0


def test_one_sample_at_the_boundary_hides_nobody():
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

    found = attack(spec("fab_t"), wavering, x, y)
    assert found.fooled[1:].all()
    assert found.forwards.sum() == sum(asked)


def test_takes_the_authors_package_where_the_other_is_missing(monkeypatch: pytest.MonkeyPatch):
    model = net(10)
    x, y = images(model)
    expected = attack(spec("aa"), model, x, y)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyautoattack"]:
        monkeypatch.setitem(sys.modules, name.removeprefix("py"), sys.modules[name])
        monkeypatch.setitem(sys.modules, name, None)
    assert torch.equal(attack(spec("aa"), model, x, y).x_adv, expected.x_adv)
