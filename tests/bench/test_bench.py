"""The benchmark compares what it says it compares."""

import pytest
import torch

from afdctl import recipe
from afdctl.bench.published import Published
from afdctl.bench.report import measure
from afdctl.bench.steps import Ratio, interleaved, ratio, steps
from afdctl.errors import RecipeError
from tests.conftest import short
from tests.defenses.test_contract import moved, snapshot

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "passes"), [("mnist_wgan", 7), ("mnist_dcgan", 5)])
def test_the_published_step_has_as_many_encoder_passes_as_the_published_code(name: str, passes: int):
    candidate = steps(recipe.load(name, ["train.batch_size=4", "model.width=1"]), 1, CPU)["published"]
    defense = candidate.func.__self__
    assert isinstance(defense, Published)
    in_training: list[bool] = []
    defense.F_theta.register_forward_hook(lambda module, *_: in_training.append(module.training))
    candidate()
    assert in_training.count(True) == passes


def test_the_published_step_trains():
    """It is no straw man: its losses move the same players."""
    candidate = steps(short("digits_wgan"), 1, CPU)["published"]
    losses = [candidate()["L_C"].item() for _ in range(20)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("loss", "moves"), [("C", {"F_theta", "C_phi"}), ("D", {"D_psi"}), ("F", {"F_theta"})])
def test_each_loss_of_the_published_step_moves_its_players_only(loss: str, moves: set[str]):
    frozen = [f"defense.lr_{which}={0.1 if which == loss else 0.0}" for which in "CDF"]
    candidate = steps(short("digits_wgan", *frozen), 1, CPU)["published"]
    defense = candidate.func.__self__
    players = {name: getattr(defense, name) for name in ("F_theta", "C_phi", "D_psi")}
    before = {name: snapshot(module) for name, module in players.items()}
    candidate()
    assert {name for name, module in players.items() if moved(before[name], module)} == moves


def test_ratio_is_the_median_of_the_pairs():
    assert ratio([2, 6, 4, 100, 2], [1, 2, 2, 10, 2]) == Ratio(2, 1.5, 6.5)


def test_steps_are_taken_in_turn():
    order: list[str] = []
    times = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, rounds=2, device=CPU)
    assert order == list("ababab")
    assert [len(column) for column in times.values()] == [2, 2]


def test_report_of_a_small_recipe():
    report = measure(short("digits_wgan"), [1, 2], rounds=3, device=CPU)
    assert [row["attack_steps"] for row in report["steps"]] == [1, 2]
    for row in report["steps"]:
        assert row["afd_seconds"] > 0
        assert row["afd_over_at"].low <= row["afd_over_at"].median <= row["afd_over_at"].high
        assert 0 < row["journal_share"] < 1


def test_other_defenses_are_refused():
    with pytest.raises(RecipeError, match="this recipe's defense is 'natural'"):
        steps(short("digits_nt"), 1, CPU)
