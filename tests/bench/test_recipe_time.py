"""The time of a whole recipe is the sum of its parts."""

import pytest
import torch

from afdctl.bench import recipe_time
from afdctl.bench.recipe_time import MeasuredStep, estimate_recipe_time
from afdctl.bench.step_time import make_batch
from afdctl.models.cost import CostEstimate
from tests.conftest import short

CPU = torch.device("cpu")
COST = CostEstimate(attack_start=1.0, attack_step=2.0, losses={"C": 5.0})


def test_steps_validations_and_tests_add_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recipe_time, "time_evaluation_pass", lambda *_: 0.001)
    chosen = short(
        "digits_wgan",
        "train.epochs=60",
        "train.batch_size=128",
        "attack.steps=10",
        "data.holdout=200",
        "validation.steps=20",
        "validation.square_queries=100",
        "test.steps=40",
    )
    # a step with 10 attack steps costs 26 FLOP, with 4 it costs 14
    measured = MeasuredStep(attack_steps=4, seconds=1.4)
    eta = estimate_recipe_time(chosen, make_batch(chosen, CPU), measured, COST)
    assert eta is not None
    assert eta["steps_per_epoch"] == 10, "1237 images in batches of 128"
    assert eta["step_seconds"] == pytest.approx(2.6)
    limit = min(chosen.validation.limit, 200)
    assert eta["validation_seconds"] == pytest.approx(0.001 * limit * (43 + 103))
    tested = chosen.test.limit or 360
    assert eta["test_seconds"] == pytest.approx(0.001 * 2 * tested * 83)
    assert eta["total_seconds"] == pytest.approx(60 * (26 + eta["validation_seconds"]) + eta["test_seconds"])


def test_the_time_of_an_image_folder_is_unknown():
    chosen = short("folder_wgan", "data.image_size=8", "train.batch_size=4")
    assert estimate_recipe_time(chosen, make_batch(chosen, CPU), MeasuredStep(1, 1.0), COST) is None
