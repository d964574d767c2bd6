"""The configs of the attacks and their functions agree: passes at most, AutoAttack's parts, no empty batches."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from afdctl.attacks.sample_rng import SampleRNG
from afdctl.data.base import ImageTensors
from afdctl.data.loader import Split
from afdctl.evaluation.batch import PreparedModel, search
from afdctl.evaluation.epsilon_search import attack_grid
from afdctl.models.feature_classifier import build
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.autoattack import AA
from afdctl.suites.schema import ATTACKS
from afdctl.training.evaluate import evaluate
from afdctl.training.evaluation_parts import validation_parts
from tests.attacks.cases import EPSILON, cases, images, small_model
from tests.attacks.short import parts
from tests.attacks.test_empty_batches import Picky, labels
from tests.conftest import short

SETTINGS = {"steps": 10, "queries": 100, "targets": 3, "binary_search_steps": 3, "samples": 20, "initial_const": 1.0}


def configs(epsilons: tuple[float, ...] = (0.01, 4), **more: Any) -> Iterator[AttackConfig]:
    """Each attack in each of its norms, with short settings and a grid in units of the norm's usual epsilon."""
    for case in cases():
        config = ATTACKS[case.name]
        settings = {key: value for key, value in SETTINGS.items() if key in config.model_fields}
        grid = (0.0, *(factor * EPSILON[case.norm] for factor in epsilons))
        yield config(name=case.name, norm=case.norm, epsilons=grid, **settings, **more)


@pytest.mark.parametrize("config", [*configs((1,))], ids=lambda config: f"{config.name}-{config.norm}")
@pytest.mark.parametrize("classes", [2, 5, 10])
def test_no_sample_takes_more_passes_than_the_config_states(config: AttackConfig, classes: int):
    model, x = small_model(classes), images(12)
    # the passes of a distillation are estimated separately
    vars(model)["substitute"] = small_model(classes)  # not a child, which Sequential would call
    y = model(x).argmax(1)
    (result,) = attack_grid(config, model, x, y, rng=lambda epsilon: SampleRNG(0, "test", range(12))).values()
    forwards, backwards = config.passes(classes)
    # a fresh pass confirms each success
    assert 0 < result.forwards.max() <= forwards + 1
    assert result.backwards.max() <= backwards
    assert (result.backwards.max() > 0) == (backwards > 0)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_autoattack_has_the_parts_of_the_standard_version(norm: str):
    config = AA(name="aa", norm=norm, epsilons=(0.0, 0.1), steps=7, queries=30, targets=9)
    expected = parts(norm, steps=7, queries=30, targets=9)
    assert [part.name for part in config.parts()] == [name for name, _ in expected]
    for part, (_, kwargs) in zip(config.parts(), expected, strict=True):
        assert part.attack_kwargs() == kwargs


@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize("config", [*configs()], ids=lambda config: f"{config.name}-{config.norm}")
def test_a_sweep_calls_no_model_on_an_empty_batch(config: AttackConfig, right: int):
    """It attacks only those that are classified correctly."""
    model, x = small_model(), images(6)
    y = labels(model, x, right)
    attacked = torch.arange(6) < right
    for schedule in config.orders:
        grid = config.model_copy(update={"schedule": schedule})
        picky, numbers = PreparedModel(Picky(model), lambda: None), list(range(right))
        results = search(grid, picky, x[attacked], y[attacked], seed=0, numbers=numbers)
        assert all(len(result.x_adv) == right for result in results.values())


def test_a_validation_that_no_image_survives_calls_no_model_on_an_empty_batch():
    """No image is classified correctly, so that the probe has none to attack."""
    network = build("resnet18_mnist", width=2, norm="l2", channels=1, image_size=8, classes=5)
    x = (255 * images(12)).to(torch.uint8)
    with torch.no_grad():
        y = network.eval()(x / 255).argmin(1)
    recipe = short("digits_at", "train.checkpoint_selection=probe", "validation.square_queries=5")
    network.register_forward_pre_hook(lambda _, given: Picky.refuse(given[0]))
    assert evaluate(
        network, Split(ImageTensors(x, y), "cpu"), validation_parts(recipe, recipe.attack.norm), batch_size=4
    ) == [0, 0, 0, 0]
