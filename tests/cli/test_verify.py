"""Test `afdctl verify`."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Afdctl
from tests.export.tables.sample_runs import cell_rows, make_record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """good and bad: AT on MNIST with one point of Table 1; bare: nothing measured; digits: not in the paper."""
    folder = tmp_path_factory.mktemp("verify")
    root = folder / "runs"
    make_record(root, "good", "mnist_at", cell_rows("pgd_linf", {0.3: 0.9566}, n=10_000, acc_nat=0.9935))
    make_record(root, "bad", "mnist_at", cell_rows("pgd_linf", {0.3: 0.90}, n=10_000, acc_nat=0.9935))
    make_record(root, "bare", "mnist_at", [])
    make_record(root, "digits", "digits_at", [])
    return folder


def test_a_run_that_holds_exits_with_0(afdctl: Afdctl):
    ended = afdctl("verify", "good")
    assert (ended.code, ended.err) == (0, "")
    assert "mnist AT: good" in ended.out
    assert "95.66" in ended.out
    assert ended.out.count("holds") == 2
    assert "Not compared: mnist AT, Table 2, MIM: Table A2's grid cannot give it" in ended.out
    assert "To measure what is missing: afdctl sweep good --suite paper-A2" in ended.out


def test_a_run_outside_the_band_exits_with_1_and_says_how_many(afdctl: Afdctl):
    ended = afdctl("verify", "bad")
    assert (ended.code, ended.err) == (1, "error: verify: 1 of 2 numbers outside the band\n")
    assert "BELOW" in ended.out


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_nothing_comparable_is_one_line_and_exit_code_7(afdctl: Afdctl, options: tuple[str, ...]):
    bare = afdctl("verify", "bare", *options)
    assert bare.code == 7
    assert bare.err.startswith("error: verify: none of 16 published numbers can be compared: 15 not measured, 1 of")
    assert "run `afdctl sweep bare --suite paper-A2" in bare.err
    digits = afdctl("verify", "digits", *options)
    assert digits.code == 7
    assert digits.err.startswith("error: verify: no published number is of digits: ")
    assert digits.err.count("\n") == bare.err.count("\n") == 1


def test_a_packaged_model_that_was_not_measured_needs_no_data(
    afdctl: Afdctl, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AFDCTL_DATA", str(folder / "none"))
    ended = afdctl("verify", "model:mnist_afd")
    assert (ended.code, ended.out) == (7, "")
    assert ended.err == (
        "error: model:mnist_afd: nothing is measured under runs; run `afdctl sweep model:mnist_afd` first\n"
    )
    assert afdctl("verify", "none").code == 3


def test_advice_names_the_folder_that_was_given(afdctl: Afdctl, tmp_path: Path):
    ended = afdctl("verify", "model:mnist_afd", "--runs", str(tmp_path))
    assert ended.err.endswith(f"run `afdctl sweep model:mnist_afd --runs {tmp_path}` first\n")


@pytest.mark.parametrize(("name", "method"), [("digits", "AT"), ("model:digits_afd", "AFD-DCGAN")])
def test_a_run_without_published_numbers_is_named_and_changes_no_label(afdctl: Afdctl, name: str, method: str):
    # a packaged model of such a data set needs no sweep to know
    reason = f"no published number is of {method} on digits"
    alone = afdctl("verify", name)
    assert (alone.code, alone.out) == (7, "")
    assert alone.err.startswith(f"error: verify: no published number is of {name}: ")
    both, good = afdctl("verify", "good", name), afdctl("verify", "good")
    assert (both.code, both.err) == (0, "")
    assert set(both.out.splitlines()) - set(good.out.splitlines()) == {f"Not compared: {name} ({reason})."}
    assert "C&W-L2 1 (WB)" in good.out
    assert json.loads(afdctl("verify", "good", name, "--json").out)["unpublished"] == {name: reason}


def test_json_has_every_comparison(afdctl: Afdctl):
    ended = afdctl("verify", "bad", "--json")
    found = json.loads(ended.out)
    assert ended.code == 1
    table_1 = [one for one in found["comparisons"] if one["source"] == "Table 1"]
    (pgd,) = (one for one in table_1 if one["number"].startswith("PGD-L∞ 0.3 (WB)"))
    assert (pgd["verdict"], pgd["measured"], pgd["n"], pgd["runs"]) == ("below", 0.9, 10_000, ["bad"])
    assert pgd["published"] == pytest.approx(0.9566)
    assert len(found["impossible"]) == 16


def test_the_impossible_numbers_are_listed_without_a_run(afdctl: Afdctl):
    ended = afdctl("verify", "--impossible")
    assert ended.out.startswith("16 of the 171 areas of Table 2 cannot come from Table A2's grids:\n")
    assert len(ended.out.splitlines()) == 17
    assert json.loads(afdctl("verify", "--impossible", "--json").out)["published"] == 171
