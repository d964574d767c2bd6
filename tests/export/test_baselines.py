"""Test which published results of baselines a run is compared with."""

from pathlib import Path
from typing import Any

import pytest

from afdctl import registry
from afdctl.descriptors import without_additions
from afdctl.export.baselines import published
from afdctl.export.verification import Comparison, verify
from tests.export.tables.sample_runs import cell_rows, make_record

EPSILON = 8 / 255
# of the FastAT Benchmark: clean 82.36, PGD-50 54.17, AutoAttack 50.49
FASTAT: dict[str, Any] = {"steps": 50, "step_size": 2 / 255, "rel_step": None}


def compared(folder: Path, name: str, *overrides: str, aa: float = 0.505, **pgd: Any) -> dict[str, Comparison]:
    """Comparisons with others than the paper of a run under PGD and AutoAttack, by source and number."""
    cells = cell_rows("pgd_linf", {EPSILON: 0.542}, "cifar10", n=10_000, acc_nat=0.8236, **pgd)
    cells += cell_rows("aa", {EPSILON: aa}, "cifar10", n=10_000, acc_nat=0.8236)
    found = verify([make_record(folder, "run", name, cells, *overrides)]).comparisons
    return {f"{one.source}, {one.number}": one for one in found if not one.source.startswith("Table")}


def test_rows_have_a_source_and_a_method_that_exists():
    methods = [method for defense in registry.DEFENSES.values() for method in defense.methods]
    for row in published():
        assert without_additions(row.method) in methods
        assert 0 < row.aa <= (row.reported or row.clean) <= row.clean < 100
        assert row.encoder in registry.ENCODERS
        assert row.source.startswith(("github.com/", "RobustBench"))


def test_the_published_attack_on_the_published_network_is_compared(tmp_path: Path):
    found = compared(tmp_path, "cifar10_at_ema", **FASTAT)
    assert {number: one.verdict for number, one in found.items()} == {
        "FastAT Benchmark, Clean": "holds",
        "FastAT Benchmark, AA-L∞ 8/255": "holds",
        "FastAT Benchmark, PGD-50": "holds",
    }
    one = found["FastAT Benchmark, AA-L∞ 8/255"]
    assert (one.published, one.measured, one.labels) == (0.5049, 0.505, ("cifar10", "AT-LS"))
    assert one.address.startswith("github.com/fzjcdt/FastAT_Benchmark")


def test_a_number_outside_the_band_does_not_hold(tmp_path: Path):
    assert compared(tmp_path, "cifar10_at_ema", aa=0.45, **FASTAT)["FastAT Benchmark, AA-L∞ 8/255"].verdict == "below"


@pytest.mark.parametrize(
    ("name", "overrides", "reason"),
    [
        ("cifar10_at_ema", ["model.width=32"], "another network: resnet18, not resnet18, width 32"),
        ("cifar10_at_ema", ["model.norm=l2"], "another network: the published one does not normalise "),
        ("cifar10_at_ema", ["attack.epsilon=4/255"], "another threat model: L∞ 8/255, not L∞ 4/255"),
        ("cifar10_at_ema", ["attack.norm=l2", "attack.epsilon=0.5"], "another threat model: L∞ 8/255, not L2 0.5"),
        ("cifar10_at_ema", ["data.train_limit=1000"], "other training images: data.train_limit"),
        ("cifar10_score", [], "another network: wrn-28-10, not resnet18, width 64"),
    ],
)
def test_other_trainings_are_refused(tmp_path: Path, name: str, overrides: list[str], reason: str):
    found = compared(tmp_path, name, *overrides, **FASTAT)
    assert found
    for one in found.values():
        assert (one.verdict, one.reason[: len(reason)]) == ("not compared", reason)


def test_other_attacks_are_refused(tmp_path: Path):
    table_a2 = compared(tmp_path / "a", "cifar10_at_ema")["FastAT Benchmark, PGD-50"]
    assert table_a2.reason == "not the published attack: steps 20 (50)"
    undescribed = compared(tmp_path / "b", "cifar10_fgsm_rs")["PyTorch-Robust, PGD-40"]
    assert undescribed.reason == "PyTorch-Robust does not describe its attack"


def test_what_is_missing_has_its_command(tmp_path: Path):
    missing = verify([make_record(tmp_path, "run", "cifar10_at_ema", [])]).missing
    assert any("--set steps=50 --set step_size=2/255" in one and one.endswith(" pgd_linf") for one in missing)
