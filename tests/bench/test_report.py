"""Test what the benchmark measures and reports."""

import pytest
import torch
from torch import nn

from afdctl import recipe
from afdctl.bench import compilation, report, step_time
from afdctl.bench.flop_counter import StepCount
from afdctl.bench.report import MeasuredStep, estimate_recipe_time, measure
from afdctl.bench.step_time import RatioEstimate, build_defenses, estimate_ratio, interleave, make_batch
from afdctl.models import cost
from afdctl.models.cost import CostEstimate
from afdctl.models.precision import precision_of
from afdctl.training.cost_estimate import attack_for, cost_event, with_train_settings
from tests.conftest import short

CPU = torch.device("cpu")
COST = CostEstimate(attack_start=1.0, attack_step=2.0, losses={"C": 5.0})


def test_ratio_is_the_median_of_the_pairs():
    assert estimate_ratio([2, 6, 4, 100, 2], [1, 2, 2, 10, 2]) == RatioEstimate(2, 1.5, 6.5)


def test_steps_are_taken_in_turn():
    order: list[str] = []
    times = interleave({name: lambda name=name: order.append(name) for name in "ab"}, rounds=2, device=CPU)
    assert order == list("ababab")
    assert [len(column) for column in times.values()] == [2, 2]


def test_report_of_a_small_recipe():
    measured = measure(short("digits_wgan"), [1, 2], rounds=3, device=CPU, try_threads=False)
    assert [row["attack_steps"] for row in measured["steps"]] == [1, 2]
    for row in measured["steps"]:
        assert row["afd_seconds"] > 0
        assert row["afd_over_at"].low <= row["afd_over_at"].median <= row["afd_over_at"].high
        assert 0 < row["journal_share"] < 1


@pytest.mark.parametrize("name", ["digits_nt", "digits_at", "digits_trades"])
def test_a_recipe_of_any_defense_is_measured(name: str):
    measured = measure(
        short(name, "attack.epsilon_warmup_epochs=0", "train.batch_size=8"),
        [1],
        rounds=2,
        device=CPU,
        try_threads=False,
    )
    (row,) = measured["steps"]
    own = measured["defense"]
    assert measured["defense"] == {"digits_nt": "nt", "digits_at": "at", "digits_trades": "trades"}[name]
    assert {f"{other}_seconds" for other in (own, "afd", "at", "trades")} <= set(row)
    assert {f"{own}_over_{other}" for other in ("afd", "at", "trades") if other != own} <= set(row)
    assert measured["eta"]["total_seconds"] > 0


def test_only_trades_uses_pgd_kl():
    adversaries = {name: recipe.load(name).attack for name in ("mnist_trades", "mnist_wgan")}
    attacks = {
        (name, to): attack_for(attack, to, 7) for name, attack in adversaries.items() for to in ("trades", "afd")
    }
    assert {key: attack.name for key, attack in attacks.items()} == {
        ("mnist_trades", "trades"): "pgd_kl",
        ("mnist_trades", "afd"): "pgd",
        ("mnist_wgan", "trades"): "pgd_kl",
        ("mnist_wgan", "afd"): "apgd_ce",
    }
    assert {attack.steps for attack in attacks.values()} == {7}


def test_shares_add_up_and_the_floor_is_below_the_ceiling():
    (row,) = measure(short("digits_wgan"), [2], rounds=2, device=CPU, try_threads=False)["steps"]
    assert sum(phase["share"] for phase in row["phases"].values()) == pytest.approx(1)
    counted = [phase for phase in row["phases"].values() if phase["predicted"] is not None]
    assert sum(phase["predicted"] for phase in counted) == pytest.approx(1)
    assert row["phases"]["attack"]["flop_passes"] == pytest.approx(5)
    assert 0 < row["utilisation"] <= row["floor_over_step"]
    assert row["bytes"] < row["bytes_unfused"]
    assert row["peak_bytes"] > 1e7


COUNT = StepCount(passes={}, flop={"attack": 60, "C": 30}, traffic=10, unfused=10, largest=1)
DTYPES = {"attack": "bf16", "train": "float32"}


def test_a_product_slowed_by_other_work_does_not_lower_the_peak():
    assert report.peak_rate(100, [3.0, 1.0, 3.0]) == 100


def test_each_phase_is_bound_by_the_product_of_its_precision():
    line = report.roofline(COUNT, step=1.0, rates={"bf16": 200.0, "float32": 100.0}, copy_rate=20.0, dtypes=DTYPES)
    assert line["utilisation"] == line["floor_over_step"] == line["floor_seconds"] == pytest.approx(0.6)
    slow_copy = report.roofline(COUNT, step=1.0, rates={"bf16": 200.0, "float32": 100.0}, copy_rate=12.5, dtypes=DTYPES)
    assert (slow_copy["utilisation"], slow_copy["floor_over_step"]) == (pytest.approx(0.6), pytest.approx(0.8))


def test_no_share_of_the_peak_is_above_one():
    line = report.roofline(COUNT, step=0.5, rates={"bf16": 200.0, "float32": 100.0}, copy_rate=20.0, dtypes=DTYPES)
    assert (line["utilisation"], line["floor_over_step"]) == (None, None)
    assert line["floor_seconds"] == pytest.approx(0.6)


def test_every_step_has_the_recipes_precision():
    chosen = short("digits_wgan", "train.precision=bf16", "train.batch_size=8")
    defenses = build_defenses(chosen, 1, make_batch(chosen, CPU))
    precisions = {name: precision_of(defense.network) for name, defense in defenses.items()}
    assert precisions == {"afd": "bf16", "at": "bf16", "trades": "bf16"}
    plain = build_defenses(short("digits_wgan"), 1, make_batch(chosen, CPU))
    assert {precision_of(defense.network) for defense in plain.values()} == {"float32"}


def test_measured_steps_are_compiled_and_counted_ones_are_not(monkeypatch: pytest.MonkeyPatch):
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **_: compiled.append(module))
    chosen = with_train_settings(short("digits_wgan", "train.batch_size=8"), compile="default")
    defenses = build_defenses(chosen, 1, make_batch(chosen, CPU))
    # each encoder, and its folded copy, which the adversary attacks
    assert [id(module) for module in compiled[::2]] == [id(defense.network.F_theta[0]) for defense in defenses.values()]
    assert len(compiled) == 2 * len(defenses)
    compiled.clear()
    cost_event(chosen, (1, 8, 8), 10, CPU)
    assert not compiled, "the estimate before a training must not wait for a compilation"


def test_the_ceiling_is_the_recipes_product_unless_float32_is_faster(monkeypatch: pytest.MonkeyPatch):
    rates = {torch.float32: 2.0, torch.bfloat16: 1.0}
    monkeypatch.setattr(cost, "matmul_rate", lambda device, dtype, side: rates[dtype])
    assert [cost.ceiling_dtype(name, CPU) for name in ("float32", "bf16")] == ["float32", "float32"]
    rates[torch.bfloat16] = 3.0
    assert [cost.ceiling_dtype(name, CPU) for name in ("float32", "bf16")] == ["float32", "bf16"]


def test_the_report_names_precision_and_ceiling():
    chosen = short("digits_wgan", "train.precision=bf16", "train.batch_size=4", "attack.epsilon_warmup_epochs=0")
    measured = measure(chosen, [1], rounds=2, device=CPU, try_threads=False)
    assert (measured["precisions"], measured["compile"]) == ({"attack": "float32", "train": "bf16"}, False)
    assert measured["dtypes"]["attack"] == "float32"
    assert measured["dtypes"]["train"] in {"bf16", "float32"}
    event = cost_event(short("digits_wgan", "train.batch_size=4"), (1, 8, 8), 10, CPU)
    assert event["dtype"] == "float32"
    assert event["floor_seconds"] == pytest.approx(sum(event["flop"].values()) / event["product_flop_per_s"])


def test_comparing_thread_counts_leaves_the_current_one():
    threads = torch.get_num_threads()
    chosen = short("digits_wgan", "train.batch_size=4")
    rows = step_time.compare_threads(chosen, make_batch(chosen, CPU), rounds=2)
    assert torch.get_num_threads() == threads
    assert {row["threads"] for row in rows} == {*step_time.candidate_thread_counts(), threads}
    assert next(row for row in rows if row["threads"] == threads)["over_current"].median == 1
    medians = [row["over_current"].median for row in rows]
    assert medians == sorted(medians)


def test_steps_validations_and_tests_add_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report, "time_evaluation_pass", lambda *_: 0.001)
    chosen = short(
        "digits_wgan",
        "train.epochs=60",
        "train.batch_size=128",
        "attack.steps=10",
        "data.holdout=100",
        "data.train_limit=1237",
        "validation.steps=20",
        "validation.square_queries=100",
        "train.checkpoint_selection=probe",
        "test.steps=40",
    )
    # a step with 10 attack steps costs 26 FLOP, with 4 it costs 14
    measured = MeasuredStep(attack_steps=4, seconds=1.4)
    eta = estimate_recipe_time(chosen, make_batch(chosen, CPU), measured, COST)
    assert eta is not None
    assert eta["steps_per_epoch"] == 10, "1237 images in batches of 128"
    assert eta["step_seconds"] == pytest.approx(2.6)
    # APGD in 1 + 3 runs of 42 passes, Square in 103
    assert eta["validation_seconds"] == pytest.approx(0.001 * 64 * (2 + 44 + 128 + 103))
    assert eta["validation_interval"] == 12, "5 % of 60 epochs with 27 passes for each of 1237 images pay for 5.7"
    assert eta["validation_share"] == pytest.approx(5 * 64 * 277 / (60 * 27 * 1237))
    tested = chosen.test.limit or 360
    assert eta["test_seconds"] == pytest.approx(0.001 * 2 * tested * 83)
    assert eta["total_seconds"] == pytest.approx(60 * 26 + 5 * eta["validation_seconds"] + eta["test_seconds"])


def test_the_time_of_an_image_folder_is_unknown():
    chosen = short("folder_wgan", "data.image_size=8", "train.batch_size=4")
    assert estimate_recipe_time(chosen, make_batch(chosen, CPU), MeasuredStep(1, 1.0), COST) is None


@pytest.mark.gpu
@pytest.mark.parametrize("mode", [False, "default", "reduce-overhead"])
def test_a_step_is_measured_on_a_gpu(mode: str | bool):
    chosen = with_train_settings(short("digits_wgan", "train.precision=bf16", "train.batch_size=64"), compile=mode)
    measured = measure(chosen, [2], rounds=2, device=torch.device("cuda"))
    assert measured["dtypes"] == {"attack": "float32", "train": "bf16"}
    assert measured["steps"][0]["utilisation"] > 0
    assert measured["thread_counts"] == []


def test_compilation_pays_after_its_start_up_is_saved(monkeypatch: pytest.MonkeyPatch):
    chosen = with_train_settings(short("digits_wgan", "train.batch_size=4"), compile="default")
    images = make_batch(chosen, CPU)
    assert compilation.measure_compilation(with_train_settings(chosen, compile=False), images, rounds=2) is None
    monkeypatch.setattr(nn.Module, "compile", lambda module, **_: None)
    first, later = iter([30.5, 0.5]), {"compiled": [0.3, 0.2], "eager": [0.4, 0.4]}
    monkeypatch.setattr(compilation, "timed", lambda step, device: next(first))
    monkeypatch.setattr(compilation, "interleave", lambda steps, rounds, device: later)
    row = compilation.measure_compilation(chosen, images, rounds=2)
    assert (row["start_up_seconds"], row["pays_after_steps"]) == (30.0, 200)
    assert row["compiled_over_eager"].median == pytest.approx(0.625)
    first, later["eager"] = iter([30.5, 0.5]), [0.1, 0.1]
    assert compilation.measure_compilation(chosen, images, rounds=2)["pays_after_steps"] is None
