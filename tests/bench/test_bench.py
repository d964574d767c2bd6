"""The benchmark compares what it says it compares."""

import pytest
import torch
from torch import nn

from afdctl import recipe
from afdctl.bench import ceilings
from afdctl.bench.outline import outline
from afdctl.bench.published import Published
from afdctl.bench.report import measure
from afdctl.bench.steps import Ratio, attack_of, batch, defenses, interleaved, ratio, steps
from afdctl.models.precision import precision_of
from afdctl.recipe.schema import COMPILE_MODES
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
    torch.manual_seed(0)
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
    report = measure(short("digits_wgan"), [1, 2], rounds=3, device=CPU, choices=False)
    assert [row["attack_steps"] for row in report["steps"]] == [1, 2]
    for row in report["steps"]:
        assert row["afd_seconds"] > 0
        assert row["afd_over_at"].low <= row["afd_over_at"].median <= row["afd_over_at"].high
        assert 0 < row["journal_share"] < 1


@pytest.mark.parametrize("name", ["digits_nt", "digits_at", "digits_trades"])
def test_a_recipe_of_any_defense_is_measured(name: str):
    report = measure(short(name, "attack.warmup=0", "train.batch_size=8"), [1], rounds=2, device=CPU, choices=False)
    (row,) = report["steps"]
    own = report["defense"]
    assert report["defense"] == {"digits_nt": "nt", "digits_at": "at", "digits_trades": "trades"}[name]
    assert {f"{other}_seconds" for other in (own, "afd", "at", "trades", "published")} <= set(row)
    assert {f"{own}_over_{other}" for other in ("afd", "at", "trades") if other != own} <= set(row)
    assert report["eta"]["total_seconds"] > 0


def test_trades_keeps_its_own_adversary_and_no_other_takes_it():
    adversaries = {name: recipe.load(name).attack for name in ("mnist_trades", "mnist_wgan")}
    found = {(name, to): attack_of(attack, to, 7) for name, attack in adversaries.items() for to in ("trades", "afd")}
    assert {key: attack.name for key, attack in found.items()} == {
        ("mnist_trades", "trades"): "pgd_kl", ("mnist_trades", "afd"): "pgd",
        ("mnist_wgan", "trades"): "pgd_kl", ("mnist_wgan", "afd"): "apgd_ce",
    }  # fmt: skip
    assert {attack.steps for attack in found.values()} == {7}


def test_shares_add_up_and_the_floor_is_below_the_ceiling():
    (row,) = measure(short("digits_wgan"), [2], rounds=2, device=CPU, choices=False)["steps"]
    assert sum(part["share"] for part in row["parts"].values()) == pytest.approx(1)
    counted = [part for part in row["parts"].values() if part["predicted"] is not None]
    assert sum(part["predicted"] for part in counted) == pytest.approx(1)
    assert row["parts"]["attack"]["flop_passes"] == pytest.approx(5)
    assert 0 < row["utilisation"] <= row["floor_over_step"]
    assert row["bytes"] < row["bytes_unfused"]
    assert row["peak_bytes"] > 1e7


def test_the_own_step_is_taken_as_the_recipe_says_and_the_published_one_never_is():
    chosen = short("digits_wgan", "train.precision=bf16", "train.batch_size=8")
    found = defenses(chosen, 1, batch(chosen, CPU))
    assert {name: precision_of(made.network) for name, made in found.items()} == {
        "afd": "bf16", "at": "bf16", "trades": "bf16", "published": "float32",
    }  # fmt: skip
    plain = defenses(short("digits_wgan"), 1, batch(chosen, CPU))
    assert {precision_of(made.network) for made in plain.values()} == {"float32"}


def test_what_a_recipe_compiles(monkeypatch: pytest.MonkeyPatch):
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **_: compiled.append(module))
    chosen = short("digits_wgan", "train.compile=default", "train.batch_size=8")
    made = defenses(chosen, 1, batch(chosen, CPU))
    own = [each.network.F_theta[0] for name, each in made.items() if name != "published"]
    assert [module for module in compiled if any(module is one for one in own)] == own
    assert not any(module is made["published"].network.F_theta[0] for module in compiled)
    compiled.clear()
    outline(chosen, (1, 8, 8), 10, CPU)
    assert not compiled, "a count is taken before a training begins, and takes a moment"


def test_the_ceiling_is_the_recipes_product_unless_float32_is_faster(monkeypatch: pytest.MonkeyPatch):
    rates = {torch.float32: 2.0, torch.bfloat16: 1.0}
    monkeypatch.setattr(ceilings, "product_rate", lambda device, dtype, side: rates[dtype])
    assert [ceilings.ceiling_of(name, CPU) for name in ("float32", "bf16")] == ["float32", "float32"]
    rates[torch.bfloat16] = 3.0
    assert [ceilings.ceiling_of(name, CPU) for name in ("float32", "bf16")] == ["float32", "bf16"]


def test_the_report_names_the_ways():
    chosen = short("digits_wgan", "train.precision=bf16", "train.batch_size=4", "attack.warmup=0")
    report = measure(chosen, [1], rounds=2, device=CPU, choices=False)
    assert (report["precision"], report["compile"]) == ("bf16", False)
    assert report["dtype"] in {"bf16", "float32"}
    told = outline(chosen, (1, 8, 8), 10, CPU)
    assert told["dtype"] in {"bf16", "float32"}
    assert told["floor_seconds"] == pytest.approx(sum(told["flop"].values()) / told["product_flop_per_s"])


@pytest.mark.gpu
@pytest.mark.parametrize("mode", COMPILE_MODES)
def test_a_compiled_step_is_measured_on_a_gpu(mode: str):
    chosen = short("digits_wgan", "train.precision=bf16", f"train.compile={mode}", "train.batch_size=64")
    report = measure(chosen, [2], rounds=2, device=torch.device("cuda"))
    assert report["dtype"] == "bf16"
    assert report["steps"][0]["utilisation"] > 0
    assert not [row["error"] for row in report["settings"] if row["error"]]
