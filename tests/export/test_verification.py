"""Test which published numbers are compared, within which band, and which the paper's grids cannot give."""

from math import hypot
from pathlib import Path

import pytest

from afdctl.export.tables.paper_bounds import area_bounds, areas_published, impossible_areas
from afdctl.export.verification import STUDENT_T, Comparison, Verification, verify
from afdctl.runs.curves import wilson
from tests.export.tables.sample_runs import cell_rows, make_record

# Table A2's grid of PGD-Linf on MNIST, with Table 1's 95.66 % of AT at 0.3 and area 0.74
CURVE = {0.1: 0.97, 0.3: 0.9566, 0.35: 0.4, 0.4: 0.1, 0.45: 0.02, 0.5: 0.0}


def found(verification: Verification, table: str, number: str) -> Comparison:
    (one,) = (c for c in verification.comparisons if c.source == f"Table {table}" and c.number.startswith(number))
    return one


def test_the_paper_has_16_areas_that_its_own_grids_cannot_give():
    assert areas_published() == 171
    by_attack: dict[str, list[tuple[str, str]]] = {}
    for area in impossible_areas():
        by_attack.setdefault(area.attack, []).append((area.dataset, area.method))
    assert {attack: len(rows) for attack, rows in by_attack.items()} == {
        "aa": 1,
        "cw": 5,
        "ddn": 1,
        "mim": 4,
        "pgd_l2": 5,
    }
    # at 0.5 a grey image fits every image: 0.1 0.98 + 0.2 0.98 + 0.2 (0.98 + 0.11) / 2 + 0.5 0.11, about
    assert area_bounds("mnist", "AFD-WGAN", "mim")[1] == pytest.approx(0.465, abs=0.001)
    # clean accuracy falls to 0 at the first epsilon: 0.9884 / 2 * 2 / 10
    assert area_bounds("mnist", "NT", "pgd_l2")[0] == pytest.approx(0.0988, abs=0.0001)


def test_a_number_holds_within_the_band_of_both_test_sets(tmp_path: Path):
    at = make_record(tmp_path, "at", "mnist_at", cell_rows("pgd_linf", CURVE, n=10_000))
    one = found(verify([at]), "1", "PGD-L∞ 0.3 (WB)")
    assert (one.verdict, one.measured, one.published, one.n) == ("holds", 0.9566, pytest.approx(0.9566), 10_000)
    margin = wilson(9566, 10_000).margin(0.9566)
    assert one.band == pytest.approx(hypot(margin, margin))
    assert found(verify([at]), "2", "PGD-L∞").verdict in ("holds", "below", "above")


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.90, "below"), (0.99, "above"), (0.955, "holds")])
def test_a_number_outside_says_on_which_side(tmp_path: Path, accuracy: float, verdict: str):
    at = make_record(tmp_path, "at", "mnist_at", cell_rows("pgd_linf", {0.3: accuracy}, n=10_000))
    assert found(verify([at]), "1", "PGD-L∞ 0.3 (WB)").verdict == verdict


def test_seeds_widen_the_band_by_their_deviation(tmp_path: Path):
    seeds = [
        make_record(tmp_path, f"at{seed}", "mnist_at", cell_rows("pgd_linf", {0.3: accuracy}, n=10_000), f"seed={seed}")
        for seed, accuracy in enumerate((0.94, 0.95, 0.96))
    ]
    one = found(verify(seeds), "1", "PGD-L∞ 0.3 (WB)")
    assert one.runs == ("at0", "at1", "at2")
    assert one.measured == pytest.approx(0.95)
    # the deviation is 0.01, of means over 3 seeds on each side
    seed_band = STUDENT_T[1] * 0.01 * (1 / 3 + 1 / 3) ** 0.5
    assert seed_band < one.band < seed_band + 0.003
    assert one.verdict == "holds"


def test_other_settings_and_grids_are_refused(tmp_path: Path):
    stronger = make_record(tmp_path, "a", "mnist_at", cell_rows("pgd_linf", {0.3: 0.95}, steps=100))
    one = found(verify([stronger]), "1", "PGD-L∞ 0.3 (WB)")
    assert (one.verdict, one.band) == ("not compared", None)
    assert one.reason == "not Table A2's attack or grid: steps 100 (40)"
    part = make_record(tmp_path, "b", "mnist_at", cell_rows("pgd_linf", {0.1: 0.97, 0.3: 0.95}))
    assert found(verify([part]), "2", "PGD-L∞").reason == "not Table A2's attack or grid: grid 0 0.1 0.3"
    # one point of a partial grid is a number of Table 1 all the same
    assert found(verify([part]), "1", "PGD-L∞ 0.3 (WB)").verdict != "not compared"


def test_an_impossible_number_is_not_compared(tmp_path: Path):
    curve = dict.fromkeys((0.1, 0.3, 0.5, 0.8, 1.0), 0.95)
    at = make_record(tmp_path, "at", "mnist_at", cell_rows("mim", curve))
    assert found(verify([at]), "2", "MIM").reason.startswith("Table A2's grid cannot give it: 0.95 is above 0.46")


def test_a_discriminator_of_table_a5_is_compared_with_that_table_only(tmp_path: Path):
    cells = cell_rows("pgd_linf", {0.3: 0.9073}, n=10_000)
    fc3 = make_record(tmp_path, "fc3", "mnist_wgan_fc3", cells)
    verification = verify([fc3])
    assert {one.source for one in verification.comparisons} == {"Table A5"}
    assert [one.verdict for one in verification.compared] == ["holds"]


def test_what_is_missing_has_its_command_and_other_methods_are_left_out(tmp_path: Path):
    verification = verify([make_record(tmp_path, "at", "mnist_at", cell_rows("pgd_linf", {0.3: 0.95}))])
    assert {one.labels for one in verification.comparisons} == {("mnist", "AT")}
    assert any("--suite paper-A2" in command and "aa" in command for command in verification.missing)
    assert not any("afdctl train" in command for command in verification.missing)
