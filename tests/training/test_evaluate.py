"""Test accuracies on models whose adversarial examples are known."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from afdctl.attacks.autoattack import square
from afdctl.attacks.base import AttackResult
from afdctl.attacks.norms import random_in_ball
from afdctl.attacks.pgd import pgd
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.data.base import ImageTensors
from afdctl.data.loader import Split
from afdctl.models.feature_classifier import build
from afdctl.recipe import Recipe
from afdctl.training.evaluate import Evaluator, evaluate
from afdctl.training.evaluation_parts import Part, evaluation_parts, validation_parts
from tests.attacks.linear import Linear, model_and_images
from tests.conftest import short

# Grey 0.4: only a thin shell of the ball around such an image fools `Shell`.
THIN = 102 / 255


class Shell(nn.Module):
    """Prefers class 1 if the single pixel is within 0.05 of 0.5, else class 0."""

    def forward(self, x: Tensor) -> Tensor:
        score = 0.05 - (x.flatten() - 0.5).abs()
        return torch.stack([torch.zeros_like(score), score], 1)


def pgd_20(epsilon: float, norm: str = "linf", **settings: Any) -> Part:
    return partial(pgd, norm=norm, epsilon=epsilon, **{"steps": 20} | settings)


def split(x: Tensor, y: Tensor) -> Split:
    return Split(ImageTensors((255 * x).round().to(torch.uint8), y), "cpu")


def test_an_image_is_fooled_by_any_iterate():
    """Steps of 0.4 jump over the shell, so only the random start can be in it."""
    grey = torch.full((200, 1, 1, 1), THIN)
    labels = torch.zeros(200, dtype=torch.long)
    jumping = pgd_20(0.2, steps=3, step_size=0.4)
    accuracies = evaluate(Shell(), split(grey, labels), [jumping], seed=1, purpose="test", batch_size=70)
    starts = random_in_ball(grey, 0.2, "linf", SampleRNG(1, "test", range(200)))
    fooled = int(((starts - 0.5).abs() < 0.05).sum())
    assert 20 < fooled < 80
    assert accuracies == [1, pytest.approx(1 - fooled / 200)]


class Alternating(nn.Module):
    """Answers class 0 in every other pass, else class 1."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return torch.tensor([0.0, 1.0]).roll(self.passes).expand(len(x), 2)


def test_another_answer_of_a_random_network_on_x_is_no_success_of_an_attack():
    def nothing(model: nn.Module, x: Tensor, y: Tensor, *, rng: SampleRNG) -> AttackResult:
        return AttackResult.empty(x)

    images = split(torch.zeros(4, 1, 1, 1), torch.zeros(4, dtype=torch.long))
    assert evaluate(Alternating(), images, [nothing]) == [1, 1]


def linear() -> tuple[Linear, Split, Tensor]:
    """Return a model, 64 images of which it misclassifies the first ten, and a mask of the others."""
    model, x, _ = model_and_images()
    x = (255 * x).round() / 255
    right = torch.arange(len(x)) >= 10
    y = model(x).argmax(1)
    return model, split(x, torch.where(right, y, 1 - y)), right


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_robust_images_are_correct_and_farther_from_the_boundary_than_epsilon(norm: str):
    model, images, right = linear()
    distances = model.distance(images.x / 255, norm)
    epsilon = distances.quantile(0.6).item()  # none is within 2 % below it, where PGD may fail
    accuracies = evaluate(model, images, [pgd_20(epsilon, norm)], batch_size=20)
    robust = int((right & (distances > epsilon)).sum())
    assert 15 < robust < 26
    assert accuracies == [54 / 64, robust / 64]


def inverting(model: Any, x: Tensor, y: Tensor, *, rng: SampleRNG) -> AttackResult:
    """Claim that the inverted images fool the model, which is true for those that it classified correctly."""
    result = AttackResult.empty(x)
    result.x_adv, result.first_success_step = 1 - x, torch.zeros_like(y)
    return result


def test_misclassified_images_are_never_robust():
    model, images, _ = linear()
    assert evaluate(model, images, [inverting]) == [54 / 64, 0]


def claiming(model: Any, x: Tensor, y: Tensor, *, rng: SampleRNG) -> AttackResult:
    """Claim that the images themselves fool the model."""
    result = AttackResult.empty(x)
    result.first_success_step = torch.zeros_like(y)
    return result


def test_a_success_that_the_network_does_not_confirm_does_not_count():
    model, images, _ = linear()
    assert evaluate(model, images, [claiming, inverting]) == [54 / 64, 54 / 64, 54 / 64]


def test_a_network_in_training_is_evaluated_with_its_running_statistics():
    torch.manual_seed(0)
    network = build("resnet18_mnist", width=4, channels=1, image_size=8, classes=10)
    x = torch.rand((100, 1, 8, 8), generator=Generator().manual_seed(1))
    for _ in range(30):
        network(x)
    images = split(x, torch.zeros(100, dtype=torch.long))
    with torch.no_grad():
        by_batch = network(images.x / 255).argmax(1)
        images.y = network.eval()(images.x / 255).argmax(1)
    assert not torch.equal(images.y, by_batch)
    network.train()
    kept = {name: value.clone() for name, value in network.named_buffers()}
    assert evaluate(network, images.head(70), [pgd_20(1e-6)], batch_size=30) == [1, 1]
    assert network.training
    assert all(torch.equal(value, kept[name]) for name, value in network.named_buffers())


def test_the_limit_of_the_test_takes_the_sample_that_attacks_take():
    """Here the first images are the hardest: all of them are misclassified."""
    images = split(torch.full((100, 1, 1, 1), 0.9), (torch.arange(100) < 30).long())
    chosen = np.random.RandomState(0).permutation(100)[:30]
    recipe: Recipe = short("digits_nt", "test.limit=30", "test.steps=1")
    unused: Any = None
    evaluator = Evaluator(
        run=unused, recipe=recipe, journal=unused, holdout=images, test_split=images, between_batches=lambda: None
    )
    found = evaluator._measure_test(Shell())
    assert (found["subset"], found["n"]) == ("sample", 30)
    assert found["acc_nat"] == pytest.approx((chosen >= 30).mean())


class Masked(nn.Module):
    """Prefers class 1 if the mean exceeds 0.5, in steps: PGD has no gradient, Square follows the margin."""

    def forward(self, x: Tensor) -> Tensor:
        score = (x.mean((1, 2, 3)) - 0.5).mul(1000).round() + 0 * x.sum((1, 2, 3))
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_finds_what_masked_gradients_hide(norm: str):
    """Grey images whose ball crosses the boundary, and others whose ball does not."""
    images = split(torch.cat([torch.full((6, 1, 8, 8), 0.45), torch.full((4, 1, 8, 8), 0.1)]), torch.zeros(10).long())
    epsilon = {"linf": 0.2, "l2": 1.0}[norm]
    parts = [pgd_20(epsilon, norm), partial(square, norm=norm, epsilon=epsilon, queries=200)]
    before = torch.get_rng_state()
    first, second = evaluate(Masked(), images, parts), evaluate(Masked(), images, parts)
    assert first == second
    assert first[:2] == evaluate(Masked(), images, parts[:1]) == [1, 1]
    assert 0.4 - 1e-6 < first[2] < {"linf": 0.41, "l2": 0.91}[norm]
    assert torch.equal(before, torch.get_rng_state())


def with_square(*overrides: str) -> Recipe:
    return short("digits_nt", "test.square_queries=5", *overrides)


def test_square_that_cannot_start_is_no_part_of_the_test():
    assert [len(evaluation_parts(with_square("attack.norm=l2"), "l2", (side, side))) for side in (8, 12)] == [2, 1]
    assert len(evaluation_parts(with_square(), "linf", (12, 12))) == 2
    assert len(evaluation_parts(short("digits_nt"), "linf", (8, 8))) == 1


def test_a_part_attacks_only_what_no_part_before_it_fooled():
    attacked: list[int] = []

    def counted(model: Any, x: Tensor, y: Tensor, *, rng: SampleRNG) -> AttackResult:
        attacked.append(len(x))
        return AttackResult.empty(x)

    model, images, _ = linear()
    epsilon = model.distance(images.x / 255, "linf").quantile(0.6).item()
    _, robust, both = evaluate(model, images, [pgd_20(epsilon), counted], batch_size=64)
    assert attacked == [round(64 * robust)]
    assert both == robust
    attacked.clear()
    assert evaluate(model, images, [pgd_20(1.0), counted]) == [54 / 64, 0, 0]
    assert attacked == []


def test_an_attack_can_be_interrupted_between_two_passes():
    calls = iter(range(20))

    def interrupt() -> None:
        if next(calls) == 15:
            raise InterruptedError

    model, images, _ = linear()
    part = partial(square, norm="linf", epsilon=0.001, queries=1000)
    with pytest.raises(InterruptedError):
        evaluate(model, images, [part], between_passes=interrupt)


def names(parts: Sequence[Any]) -> list[str]:
    return [part.func.__name__ for part in parts]


def test_the_probe_is_a_short_autoattack_and_other_validations_its_first_attack():
    probe = validation_parts(short("digits_at", "train.checkpoint_selection=probe", "validation.targets=2"), "linf")
    assert names(probe) == ["apgd_ce", "apgd_t", "square"]
    assert [part.keywords["epsilon"] for part in probe] == [0.1] * 3
    assert (probe[1].keywords["targets"], probe[2].keywords["queries"]) == (2, 300)
    assert names(validation_parts(short("digits_at", "train.checkpoint_selection=last"), "linf")) == ["apgd_ce"]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_probe_finds_the_optimum_of_a_linear_model(norm: str):
    model, images, right = linear()
    distances = model.distance(images.x / 255, norm)
    epsilon = distances.quantile(0.6).item()
    recipe = short("digits_at", "train.checkpoint_selection=probe", f"attack.norm={norm}", f"attack.epsilon={epsilon}")
    accuracies = evaluate(model, images, validation_parts(recipe, recipe.attack.norm), purpose="validation")
    assert accuracies[-1] == int((right & (distances > epsilon)).sum()) / 64
    assert accuracies == sorted(accuracies, reverse=True)
