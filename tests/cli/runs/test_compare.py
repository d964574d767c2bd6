"""`afdctl runs compare` on shared images, results of two checkpoints, and numbers of images beside accuracies."""

import json
from pathlib import Path
from typing import Any

import h5py
import pytest

from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl
from tests.journals import analysed, epoch, final_test, saved, swept, trained, written

BEST, LAST = "b" * 64, "c" * 64
Runs = dict[str, Run]


@pytest.fixture
def runs(folder: Path) -> Runs:
    """at and wgan: best and last measured; nt: another number of test images."""
    root, checkpoints = folder / "runs", [saved(BEST, best=True), saved(LAST, best=False)]
    made = {
        "at": written(root, "at", [*trained(0.99, 0.5), *checkpoints], recipe_name="digits_at"),
        "wgan": written(root, "wgan", [*trained(0.95, 0.6), *checkpoints]),
        "nt": written(root, "nt", [epoch(1), final_test(0.9, 0.1, n=20)], recipe_name="digits_nt"),
    }
    swept(made["at"], {0.1: 0.4}, checkpoint=BEST)
    swept(made["wgan"], {0.1: 0.5}, checkpoint=BEST)
    swept(made["wgan"], {0.1: 0.3}, checkpoint=LAST)
    swept(made["wgan"], {0.1: 0.7}, attack="pgd_linf", n=1000, checkpoint=LAST)
    swept(made["nt"], {0.1: 0.1}, n=20)
    return made


def compared(afdctl: Afdctl, *names: str) -> dict[str, Any]:
    ended = afdctl("runs", "compare", *names, "--json")
    assert (ended.code, ended.err) == (0, "")
    found: dict[str, Any] = json.loads(ended.out)
    return found


def test_runs_are_tested_on_the_images_that_they_share(afdctl: Afdctl, runs: Runs):
    (test,) = compared(afdctl, "at", "wgan")["paired"]
    expected = {"runs": ["at", "wgan"], "checkpoints": ["best", "best"], "attack": "aa", "norm": "linf", "epsilon": 0.1}
    assert test.items() >= expected.items()
    # 40 and 50 of 100 images, the 40 among the 50: 2 / 2 ** 10
    assert (test["n"], test["accuracies"]) == (100, [0.4, 0.5])
    assert (test["only_first"], test["only_second"], test["p"]) == (0, 10, 2 / 1024)
    assert [test["n"] for test in compared(afdctl, "at", "wgan", "nt")["paired"]] == [100, 20, 20]
    out = afdctl("runs", "compare", "at", "wgan").out
    assert "same images: A = at, B = wgan" in out
    assert "│ aa L∞  │ 0.1 │    100 │ 40.0 │ 50.0 │      0 │     10 │ 0.002 │" in out
    assert "exact McNemar test, two-sided" in out


def test_runs_that_share_no_results_have_a_reason_in_place_of_p(afdctl: Afdctl, folder: Path, runs: Runs):
    rows = [*trained(), saved(BEST, best=True)]
    other = written(folder / "runs", "other", rows, provenance={"data_digest": "e", "threads": 1})
    assert "same images: no attack was measured at the same epsilon" in afdctl("runs", "compare", "at", "other").out
    swept(other, {0.1: 0.2}, checkpoint=BEST)
    assert "at and other not tested under aa L∞: other data." in afdctl("runs", "compare", "at", "other").out
    (test,) = compared(afdctl, "at", "other")["paired"]
    assert (test["reason"], test["p"]) == ("other data", None)


def test_compare_has_the_results_of_both_checkpoints_with_their_images(afdctl: Afdctl, runs: Runs):
    found = compared(afdctl, "at", "wgan", "nt")
    assert found["results"]["aa linf 0.1"] == [0.4, 0.5, 0.1]
    assert found["images"]["aa linf 0.1"] == [100, 100, 20]
    assert found["results"]["aa linf 0.1, last"] == [None, 0.3, None]
    assert found["images"]["clean (test)"] == [360, 360, 20]
    lines = {
        line.split("│")[1].strip(): line
        for line in afdctl("runs", "compare", "at", "wgan", "nt").out.splitlines()
        if "│" in line
    }
    assert lines["aa L∞ 0.1"].count("n=") == 3
    assert "50.0% n=100" in lines["aa L∞ 0.1"]
    # equal within the row, but not those of other rows
    assert "pgd_linf L∞ 0.1, last (n=1k)" in lines


def test_compare_prints_percent_areas_and_counts(afdctl: Afdctl, runs: Runs):
    for name, units in (("at", 3), ("wgan", 1204)):
        analysed(runs[name], "units", {"units": units})
    lines = [line.split("│")[1:4] for line in afdctl("runs", "compare", "at", "wgan").out.splitlines() if "│" in line]
    rows = {label.strip(): [first.strip(), second.strip()] for label, first, second in lines}
    assert rows["PGD-40 L∞ 0.1 (test, no AutoAttack) (n=360)"] == ["50.0%", "60.0%"]
    assert rows["aa AUC over 0 0.1 (n=100)"] == ["0.685", "0.735"]
    assert [values for label, values in rows.items() if label.startswith("units units")] == [["3", "1204"]]


def test_results_of_a_checkpoint_that_is_no_longer_best_have_its_digest(afdctl: Afdctl, folder: Path, runs: Runs):
    # attacked while the training was stopped, which then found a better epoch
    resumed = written(folder / "runs", "resumed", [saved(LAST, best=True), *trained(), saved("d" * 64, best=True)])
    swept(resumed, {0.1: 0.2}, checkpoint=LAST)
    results = compared(afdctl, "at", "resumed")["results"]
    assert (results["aa linf 0.1"], results["aa linf 0.1, cccccccc"]) == ([0.4, None], [None, 0.2])
    assert "aa L∞ (best and cccccccc)" in afdctl("runs", "compare", "at", "resumed").out


def test_show_lists_both_checkpoints(afdctl: Afdctl, runs: Runs):
    analysed(runs["wgan"], "units", {"units": 3})
    ended = afdctl("runs", "show", "wgan", "--json")
    attacks = json.loads(ended.out)["attacks"]
    assert [(attack["attack"], attack["checkpoint_name"], attack["accuracies"][-1]) for attack in attacks] == [
        ("aa", "best", 0.5),
        ("aa", "last", 0.3),
        ("pgd_linf", "last", 0.7),
    ]
    out = afdctl("runs", "show", "wgan").out
    assert "│ aa       │ best       │" in out
    assert "│ aa       │ last       │" in out
    assert "units  n 100  ffffffff" in out


def test_export_chooses_the_checkpoint(afdctl: Afdctl, runs: Runs):
    def table(*options: str) -> tuple[dict[str, Any], str]:
        found = json.loads(afdctl("export", "at", "wgan", "--table", "1", "--json", *options).out)
        return {row["method"]: row for row in found["rows"]}, " ".join([*found["notes"], *found["missing"]])

    rows, notes = table()
    assert (rows["AT"]["aa_linf_wb"], rows["AFD-WGAN"]["aa_linf_wb"], rows["AFD-WGAN"]["pgd_linf_wb"]) == (
        0.4,
        0.5,
        None,
    )
    assert "wgan has results of its checkpoint last too; --checkpoint last shows them." in notes
    assert "--checkpoint last --attacks" not in notes
    rows, notes = table("--checkpoint", "last")
    assert (rows["AT"]["aa_linf_wb"], rows["AFD-WGAN"]["aa_linf_wb"], rows["AFD-WGAN"]["pgd_linf_wb"]) == (
        0.4,
        0.3,
        0.7,
    )
    assert "Checkpoint: digits last (except AT best)" in notes
    # what is missing is measured on the checkpoint that the rest of the row is of
    assert "afdctl sweep wgan --suite paper-A2 --checkpoint last --attacks cw" in notes
    ended = afdctl("export", "at", "--table", "1", "--checkpoint", "lst")
    assert (ended.code, ended.out) == (3, "")
    assert "--checkpoint lst: no run here was attacked or analysed on it; name best, last" in ended.err
    cells = json.loads(afdctl("export", "wgan", "--cells", "json").out)["rows"]
    assert [(row["checkpoint_name"], row["shown"]) for row in cells] == [
        ("best", True),
        ("last", False),
        ("last", False),
    ]


def test_results_h5_has_both_checkpoints(afdctl: Afdctl, runs: Runs):
    with h5py.File(runs["wgan"].results_path) as file:
        assert [file[f"{folder}attacks/aa/0.1"].attrs["accuracy"] for folder in ("", "last/")] == [0.5, 0.3]
        assert (list(file["attacks"]), list(file["last/attacks"])) == (["aa"], ["aa", "pgd_linf"])
        assert file["last/attacks/aa/0.1"].attrs["checkpoint"] == LAST


def test_ls_shows_the_images_in_the_heading_or_in_a_column(afdctl: Afdctl, runs: Runs):
    out = afdctl("runs", "ls").out
    cells = {line.split("│")[1].strip(): line.split("│")[9].strip() for line in out.splitlines() if "│" in line}
    # clean, PGD and AA differ between the runs; equal numbers are written once
    assert (cells["at"], cells["nt"]) == ("360/360/100", "20")
    assert "│ 40.0 at 0.1 L∞ │" in out
    runs["nt"].journal_path.unlink()
    out = afdctl("runs", "ls").out
    assert "360/" not in out
    heading, *rows = [line for line in out.splitlines() if "n=" in line]
    assert heading.count("n=360") == 2
    assert heading.count("n=100") == 1
    assert rows == []


@pytest.mark.parametrize("name", ["nt", "a_name_that_is_longer_than_any_of_the_recipes-001"])
def test_ls_has_room_for_states_epochs_and_accuracies(
    afdctl: Afdctl, folder: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch, name: str
):
    runs["nt"].path.rename(folder / "runs" / name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("afdctl.cli.console.TableConsole.is_terminal", True)
    out = afdctl("runs", "ls").out
    assert "…" not in out
    (row,) = [line for line in out.splitlines() if line.startswith(f"│ {name[:8]}")]
    assert all(f" {text} " in row for text in ("swept", "1/60", "90.0", "10.0", "10.0 at 0.1 L∞"))
    assert "a wider terminal or --json shows them" in " ".join(out.split())


def test_ls_names_the_checkpoint_if_only_the_last_one_was_attacked(afdctl: Afdctl, folder: Path):
    run = written(folder / "runs", "at", [*trained(), saved(BEST, best=True), saved(LAST, best=False)])
    swept(run, {0.1: 0.4}, checkpoint=LAST)
    assert "40.0 at 0.1 L∞ (last)" in afdctl("runs", "ls").out
