"""Steps and projections against foolbox, bit by bit from the same start, and against the formulas of AdverTorch."""

import warnings
from typing import Any

import eagerpy
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from afdctl import registry
from afdctl.attacks.mim import MomentumStep
from afdctl.attacks.norms import project, random_in_ball
from afdctl.attacks.sample_rng import SampleRNG
from tests.attacks.cases import EPSILON, images, length, small_model

with warnings.catch_warnings():
    # it imports a name that SciPy 2 will drop
    warnings.filterwarnings("ignore", "Please import `gaussian_filter`", DeprecationWarning)
    import foolbox
    from foolbox.attacks import (
        L1ProjectedGradientDescentAttack,
        L2ProjectedGradientDescentAttack,
        LinfFastGradientAttack,
        LinfProjectedGradientDescentAttack,
    )

THEIRS = {
    "fgsm": LinfFastGradientAttack,
    "pgd_linf": LinfProjectedGradientDescentAttack,
    "pgd_l2": L2ProjectedGradientDescentAttack,
    "pgd_l1": L1ProjectedGradientDescentAttack,
}
TABLE_A2 = [
    ("fgsm", {}, {}),
    ("pgd_linf", {"steps": 40, "rel_step": 0.01 / 0.3}, {"steps": 40, "rel_stepsize": 0.01 / 0.3}),
    ("pgd_linf", {"steps": 20, "step_size": 2 / 255}, {"steps": 20, "abs_stepsize": 2 / 255}),
    ("pgd_l2", {"steps": 50, "rel_step": 0.025}, {"steps": 50, "rel_stepsize": 0.025}),
    ("pgd_l1", {"steps": 50, "rel_step": 0.025}, {"steps": 50, "rel_stepsize": 0.025}),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize(("name", "knobs", "their_knobs"), TABLE_A2)
def test_bitwise_as_foolbox(
    name: str,
    knobs: dict[str, Any],
    their_knobs: dict[str, Any],
    random_start: bool,
    channels: int,
    monkeypatch: pytest.MonkeyPatch,
):
    model, x = small_model(channels=channels), images(32, channels)
    norm = name.removeprefix("pgd_").replace("fgsm", "linf")
    y, epsilon = model(x).argmax(1), 2 * EPSILON[norm]
    theirs = THEIRS[name](random_start=random_start, **their_knobs)
    start = random_in_ball(x, epsilon, norm, SampleRNG(0, "test", range(32)))
    monkeypatch.setattr(theirs, "get_random_start", lambda x0, epsilon: eagerpy.astensor(start))
    their_model = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    expected = theirs.run(their_model, x, y, epsilon=epsilon)
    textbook = {} if name == "fgsm" else {"early_stop": False}
    attack = registry.load(registry.ATTACKS, name)
    draws = SampleRNG(0, "test", range(32))
    found = attack(model, x, y, epsilon=epsilon, rng=draws, random_start=random_start, **textbook, **knobs)
    assert torch.equal(found.x_adv, expected)
    assert not torch.equal(found.x_adv, x)


def mifgsm(model: Any, x: Tensor, y: Tensor, epsilon: float, step: float, decay: float, steps: int) -> Tensor:
    """Dong et al. 2018 with the mean for the L1 norm, as AdverTorch and torchattacks have it."""
    x_adv, momentum = x, torch.zeros_like(x)
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(model(x_adv), y), x_adv)
        momentum = gradient / gradient.abs().mean((1, 2, 3), keepdim=True) + decay * momentum
        x_adv = x_adv.detach() + step * momentum.sign()
        x_adv = (x + (x_adv - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    return x_adv


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_mim_bitwise_as_its_formula(decay: float):
    # powers of two of images and of pixels: a mean has the bits of a sum
    model, x = small_model(), images(32)
    y = model(x).argmax(1)
    attack = registry.load(registry.ATTACKS, "mim")
    draws = SampleRNG(0, "test", range(32))
    found = attack(model, x, y, epsilon=0.3, rng=draws, steps=40, step_size=0.01, decay=decay, early_stop=False)
    assert torch.equal(found.x_adv, mifgsm(model, x, y, 0.3, 0.01, decay, 40))


def test_momentum_weighs_gradients_equally_at_any_scale():
    x = torch.full((4, 1, 8, 8), 0.5)
    first, second = images(8).split(4)
    ends = []
    for scale in (1, 2.0**-60):
        move = MomentumStep(norm="linf", epsilon=0.3, step_size=0.1, decay=1.0, x=x)
        ends.append(move(x, move(x, x, first - 0.5), scale * (second - 0.5)))
    assert torch.equal(*ends)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 1e-3), ("l2", 1e-2), ("l1", 0.1)])
def test_small_balls_are_kept_in_spite_of_rounding(norm: str, epsilon: float):
    x = torch.rand((8, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    direction = torch.rand((8, 3, 64, 64), generator=torch.Generator().manual_seed(1)) - 0.5
    starts = [random_in_ball(x, epsilon, norm, SampleRNG(seed, "test", range(8))) for seed in range(8)]
    for x_adv in (project(x + direction, x, epsilon, norm), *starts):
        assert length(x_adv.double() - x.double(), norm).max() <= epsilon * (1 + 1e-5)
        assert length(x_adv.double() - x.double(), norm).min() >= epsilon * 0.8


@pytest.mark.parametrize("norm", EPSILON)
def test_random_starts_have_foolboxs_distribution(norm: str):
    """The lengths and the largest pixels of 2000 starts, as the distance of two distribution functions."""
    x = torch.full((2000, 1, 3, 3), 0.5)
    ours = random_in_ball(x, 0.5, norm, SampleRNG(0, "test", range(2000))) - x
    theirs = {"linf": "pgd_linf", "l2": "pgd_l2", "l1": "pgd_l1"}[norm]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = THEIRS[theirs]().get_random_start(eagerpy.astensor(x), 0.5).raw - x
    for statistic in (
        lambda delta: length(delta, norm),
        lambda delta: delta.flatten(1).amax(1),
        lambda d: d[:, 0, 0, 0],
    ):
        a, b = statistic(ours).float().sort().values, statistic(expected).float().sort().values
        at = torch.cat([a, b])
        apart = (torch.searchsorted(a, at) - torch.searchsorted(b, at)).abs().max() / 2000
        assert apart < 0.06  # 1.9 / sqrt(1000): one in a thousand is larger
