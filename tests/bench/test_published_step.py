"""Test that the published step of benchmarks/ performs the operations of the published code."""

import pytest
import torch

from afdctl import recipe
from afdctl.bench.step_time import make_batch
from afdctl.models.precision import precision_of
from afdctl.recipe import Recipe
from benchmarks.step_vs_published import PublishedStep, measure, published_defense
from tests.conftest import short
from tests.defenses.test_contract import moved, snapshot

CPU = torch.device("cpu")


def published(recipe: Recipe) -> tuple[PublishedStep, torch.Tensor, torch.Tensor]:
    images = make_batch(recipe, CPU)
    return published_defense(recipe, 1, images), images.x, images.y


@pytest.mark.parametrize(("name", "passes"), [("mnist_wgan", 7), ("mnist_dcgan", 5)])
def test_it_has_as_many_encoder_passes_as_the_published_code(name: str, passes: int):
    defense, x, y = published(recipe.load(name, ["train.batch_size=4", "model.width=1"]))
    in_training: list[bool] = []
    defense.F_theta.register_forward_hook(lambda module, *_: in_training.append(module.training))
    defense.step(x, y)
    assert in_training.count(True) == passes


def test_it_trains():
    torch.manual_seed(0)
    defense, x, y = published(short("digits_wgan"))
    losses = [defense.step(x, y)["L_C"].item() for _ in range(20)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("loss", "moves"), [("C", {"F_theta", "C_phi"}), ("D", {"D_psi"}), ("F", {"F_theta"})])
def test_each_loss_moves_its_players_only(loss: str, moves: set[str]):
    frozen = [f"defense.lr_{name}={0.1 if name == loss else 0.0}" for name in "CDF"]
    defense, x, y = published(short("digits_wgan", *frozen))
    players = {name: getattr(defense, name) for name in ("F_theta", "C_phi", "D_psi")}
    before = {name: snapshot(module) for name, module in players.items()}
    defense.step(x, y)
    assert {name for name, module in players.items() if moved(before[name], module)} == moves


def test_it_runs_in_float32_whatever_the_recipe_says():
    defense, _, _ = published(short("digits_wgan", "train.precision=bf16", "train.batch_size=8"))
    assert precision_of(defense.network) == "float32"


def test_the_comparison_reports_both_times_and_their_ratio():
    report = measure(short("digits_wgan", "train.batch_size=8"), 1, 3, CPU)
    ratio = report["afd_over_published"]
    assert ratio.low <= ratio.median <= ratio.high
    assert min(report["afd_seconds"], report["published_seconds"]) > 0
