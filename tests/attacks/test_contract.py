"""The contract of every training adversary."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from afdctl import registry
from afdctl.attacks.n_fgsm import NOISE
from afdctl.models.feature_classifier import build
from afdctl.models.fused import FusedModel
from tests.attacks.linear import model_and_images
from tests.conftest import NoWaitingForTheDevice

EPSILON = {"linf": 0.05, "l2": 0.3, "l1": 2.0}
every_adversary = pytest.mark.parametrize("name", registry.ADVERSARIES)
every_norm = pytest.mark.parametrize("norm", EPSILON)
# one step along the gradient is the best perturbation; for l1 see test_sparse_l1.py
where_one_step_is_best = pytest.mark.parametrize("norm", ["linf", "l2"])


def generate(name: str, norm: str, model: nn.Module, x: Tensor, y: Tensor, **knobs: Any) -> Tensor:
    attack: Callable[..., Tensor] = registry.load(registry.ADVERSARIES, name)
    return attack(model, x, y, norm=norm, **{"epsilon": EPSILON[norm], "steps": 20, "generator": Generator()} | knobs)


def length(delta: Tensor, norm: str) -> Tensor:
    return torch.linalg.vector_norm(delta.flatten(1), ord={"linf": torch.inf, "l2": 2, "l1": 1}[norm], dim=1)


@every_norm
@every_adversary
@pytest.mark.parametrize("return_iterate", ["best_loss", "last", "last_success"])
def test_stays_in_the_ball_and_in_the_box(name: str, norm: str, return_iterate: str, generator: Generator):
    torch.manual_seed(0)
    model = build("lenet", width=2, channels=1, image_size=8, classes=3).eval()
    x = torch.rand((32, 1, 8, 8), generator=generator).round()  # every pixel is 0 or 1: the box matters
    x_adv = generate(name, norm, model, x, model(x).argmax(1), return_iterate=return_iterate)
    reach = 1 + NOISE if name == "n_fgsm" else 1  # which is not projected
    assert length(x_adv - x, norm).max() <= reach * EPSILON[norm] * (1 + 1e-5)
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert return_iterate == "last_success" or not torch.equal(x_adv, x)


@where_one_step_is_best
@pytest.mark.parametrize("name", ["apgd_ce", "pgd"])
def test_fools_a_linear_model_exactly_where_that_is_possible(name: str, norm: str):
    """For two classes one step is the best perturbation, so the exact distances decide which samples are fooled."""
    model, x, y = model_and_images()
    distances = model.distance(x, norm)
    for epsilon in distances.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist():
        x_adv = generate(name, norm, model, x, y, epsilon=epsilon)
        fooled = model(x_adv).argmax(1) != y
        assert torch.equal(fooled[distances < 0.98 * epsilon], torch.ones_like(fooled[distances < 0.98 * epsilon]))
        assert not fooled[distances > 1.0001 * epsilon].any()


@where_one_step_is_best
def test_kl_adversary_moves_the_prediction_as_far_as_a_linear_model_allows(norm: str):
    model, x, y = model_and_images()
    x_adv = generate("pgd_kl", norm, model, x, y)
    moved = (model(x_adv) - model(x))[:, 1].abs()
    possible = EPSILON[norm] * torch.linalg.vector_norm(model.weights, ord=1 if norm == "linf" else 2)
    assert moved.median() >= 0.98 * possible
    assert moved.max() <= possible * (1 + 1e-4)


@every_adversary
def test_the_returned_iterate(name: str):
    model, x, y = model_and_images()
    epsilon = model.distance(x, "linf").median().item()
    kept = {
        iterate: generate(name, "linf", model, x, y, epsilon=epsilon, return_iterate=iterate)
        for iterate in ("best_loss", "last_success")
    }
    fooled = model(kept["last_success"]).argmax(1) != y
    assert 0 < fooled.sum() < len(x)
    assert torch.equal(kept["last_success"][~fooled], x[~fooled])
    assert not (kept["best_loss"] == x).flatten(1).all(1).any()


@pytest.mark.parametrize(("name", "before"), [("apgd_ce", 0), ("pgd", 0), ("pgd_kl", 1)])
def test_a_last_iterate_that_is_returned_in_any_case_costs_no_pass(name: str, before: int):
    """The adversary of TRADES also needs the logits of x, `before` its steps."""
    model, x, y = model_and_images()
    found, passes = {}, {}
    for iterate in ("last", "best_loss"):
        seen: list[Tensor] = []

        def counting(images: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(images.detach())
            return model(images)

        found[iterate] = generate(name, "linf", counting, x, y, steps=3, return_iterate=iterate)
        passes[iterate] = seen
    assert (len(passes["last"]), len(passes["best_loss"])) == (3 + before, 4 + before)
    assert torch.equal(found["last"], passes["best_loss"][-1])


@every_norm
@every_adversary
def test_never_waits_for_the_device(name: str, norm: str):
    model, x, y = model_and_images()
    with NoWaitingForTheDevice():
        generate(name, norm, model, x, y)


@every_adversary
def test_leaves_model_and_random_state_alone_and_repeats_itself(name: str):
    torch.manual_seed(0)
    network = build("resnet18_mnist", width=2, channels=1, image_size=8, classes=3)
    x, y = torch.rand(16, 1, 8, 8), torch.arange(16) % 3
    state = {key: value.clone() for key, value in network.state_dict().items() if isinstance(value, Tensor)}
    before = torch.get_rng_state()
    first, again, other = (
        generate(name, "linf", FusedModel(network), x, y, steps=1, generator=Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert network.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items() if key in state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@every_adversary
def test_no_random_start_draws_nothing(name: str):
    model, x, y = model_and_images()
    generator = Generator().manual_seed(7)
    before = generator.get_state()
    generate(name, "linf", model, x, y, random_start=False, generator=generator)
    assert torch.equal(generator.get_state(), before)
