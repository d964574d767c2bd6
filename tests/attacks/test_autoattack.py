"""Test that AutoAttack's parts and their worst case equal the library's and are near the optimum."""

import pytest
import torch
from pyautoattack import AutoAttack
from torch import Generator, Tensor, nn

from afdctl.attacks.autoattack import LIBRARY_NORMS
from afdctl.attacks.norms import lp_norm
from afdctl.attacks.pgd import pgd_ce
from afdctl.attacks.sample_rng import SampleRNG
from tests.attacks.linear import model_and_images
from tests.attacks.short import EPSILON, SHORT, attack, images, net, parts, setting

every_norm = pytest.mark.parametrize("norm", EPSILON)


def library(model: nn.Module, n: int, norm: str, classes: int = 10, steps: int = 4, queries: int = 25) -> AutoAttack:
    """The library's own evaluation of `n` images, shortened where its steps are fewer than its 100."""
    theirs = AutoAttack(
        model, norm=LIBRARY_NORMS[norm], eps=EPSILON[norm], seed=SampleRNG(3, "autoattack", range(n)).seed
    )
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
    found = attack(setting("aa", norm, steps=steps, queries=queries), model, x, y)
    theirs = library(model, len(x), norm, classes, steps, queries)
    with torch.random.fork_rng(devices=[]):
        assert torch.equal(found.x_adv, theirs.run_standard_evaluation(x, y, batch_size=len(x))[0])
    assert 3 < found.fooled.sum() < len(x)
    assert found.first_success_step[:3].tolist() == [0, 0, 0]
    assert torch.equal(found.x_adv[~found.fooled], x[~found.fooled])


@every_norm
@pytest.mark.parametrize("part", ["apgd_ce", "apgd_t", "square"])
def test_each_part_is_the_library_bit_by_bit(part: str, norm: str):
    model = net(10).requires_grad_(False)
    x, y = images(model)
    theirs = library(model, len(x), norm)
    component = {"apgd_ce": theirs.apgd, "apgd_t": theirs.apgd_targeted, "square": theirs.square}[part]
    kwargs = dict(parts(norm, **SHORT["aa"]))[part]
    found = attack(setting(part, **kwargs), model, x, y)
    component.seed, component.loss = theirs.seed, {"apgd_ce": "ce"}.get(part, component.loss)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        x_adv = component.perturb(x, y)
    assert found.fooled.any()
    assert torch.equal(found.fooled, model(x_adv).argmax(1) != y)
    assert torch.equal(found.x_adv[found.fooled], x_adv[found.fooled])


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
    found = attack(setting("apgd_t", epsilon=epsilon, steps=20), model, x, y)
    assert abs(found.fooled.float().mean().item() - share) <= 0.04
    assert not (found.fooled & (exact > epsilon * (1 + 1e-4))).any()


def test_fab_finds_the_nearest_image(linear: tuple[nn.Module, Tensor, Tensor, Tensor]):
    model, x, y, exact = linear
    found = attack(setting("fab_t", steps=20), model, x, y)
    ratio = lp_norm(found.x_adv - x, "linf") / exact
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
        fooled = attack(setting(name, norm, epsilon, steps=20), model, x, y).fooled
        assert torch.equal(fooled | (distances > 0.98 * epsilon), torch.ones_like(fooled))
        assert not fooled[distances > 1.0001 * epsilon].any()


@pytest.mark.parametrize("name", ["apgd_t", "fab_t"])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_logits_does_not_matter(name: str, scale: float):
    model = net(10)
    x, y = images(model, n=40)
    plain, scaled = (attack(setting(name), each, x, y) for each in (model, lambda x: scale * model(x)))
    assert (plain.fooled != scaled.fooled).sum() <= 1
    assert plain.fooled.any()
    if name == "fab_t":
        lengths, others = lp_norm(plain.x_adv - x, "linf"), lp_norm(scaled.x_adv - x, "linf")
        assert (lengths / others).median().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_breaks_what_pgd_breaks(norm: str):
    model = net(10)
    x, y = images(model, n=60)
    found = attack(setting("aa", norm, steps=20, targets=3), model, x, y)
    generator = Generator().manual_seed(0)
    x_adv = pgd_ce(
        model, x, y, norm=norm, epsilon=EPSILON[norm], steps=20, return_iterate="last_success", generator=generator
    )
    by_pgd = model(x_adv).argmax(1) != y
    assert (by_pgd & ~found.fooled).sum() <= 1
    assert found.fooled.sum() >= by_pgd.sum() > 0
