"""`afdctl runs best` ranks settings by their hold-out accuracy, seeds together."""

import json
from pathlib import Path

import pytest

from afdctl import recipe
from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl


def finished(root: Path, name: str, accuracy: float, *overrides: str, probe: bool = False, end: bool = True) -> None:
    """A run that was validated at two epochs; the last one is not the best."""
    run = Run.create(root, "x", recipe.dump(recipe.load("digits_nt", overrides)), {"kind": "trained"}, name=name)
    with run.open_journal() as journal:
        for epoch, value, best in ((1, accuracy, True), (2, 0.0, False)):
            row = {"epoch": epoch, "step": epoch, "best": best, "acc_nat": 0.9, "n": 100, "seconds": 1.0}
            journal.append("epoch", **row, acc_adv=value, **({"acc_probe": value} if probe else {}))
        if end:
            journal.append("end", step=2, reason="finished", exit_code=0, message=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("best")
    for seed, accuracies in enumerate([(0.54, 0.62), (0.6, 0.48)]):
        for lr, accuracy in zip((0.1, 0.2), accuracies, strict=True):
            finished(root / "g", f"lr{lr}-{seed}", accuracy, f"defense.lr_C={lr}", f"seed={seed}")
    finished(root / "probe", "apgd", 0.5)
    finished(root / "probe", "probe", 0.6, "train.checkpoint_selection=probe", probe=True)
    finished(root / "unfinished", "x", 0.5, end=False)
    finished(root / "unfinished", "y", 0.4)
    return root


def test_the_paths_of_the_setting_that_is_best_on_average(afdctl: Afdctl):
    # the best single run is of the other setting, by chance
    assert afdctl("runs", "best", "--runs", "g") == (0, "g/lr0.1-0\ng/lr0.1-1\n", "")
    assert afdctl("runs", "best", "--runs", "g", "--where", "seed=0").out == "g/lr0.2-0\n"


def test_a_table_of_all_settings(afdctl: Afdctl):
    rows = [line.split("│")[1:6] for line in afdctl("runs", "best", "--runs", "g", "--table").out.splitlines()]
    cells = [[cell.strip() for cell in row[:4]] for row in rows if len(row) > 4]
    assert cells == [["0.1", "57.0 ± 4.2", "90.0", "2"], ["0.2", "55.0 ± 9.9", "90.0", "2"]]


def test_json_has_every_setting(afdctl: Afdctl):
    first, _ = json.loads(afdctl("runs", "best", "--runs", "g", "--json").out)["settings"]
    assert (first["values"], first["attack"], first["n"]) == ({"defense.lr_C": 0.1}, "APGD-CE", 100)
    assert [run["seed"] for run in first["runs"]] == [0, 1]


def test_runs_that_were_validated_in_other_ways_are_not_ranked(afdctl: Afdctl):
    ended = afdctl("runs", "best", "--runs", "probe")
    assert (ended.code, ended.out) == (2, "")
    assert "not validated in the same way (attack on the hold-out: APGD-CE, probe)" in ended.err


def test_unfinished_runs_are_left_out(afdctl: Afdctl):
    ended = afdctl("runs", "best", "--runs", "unfinished")
    assert ended == (0, "unfinished/y\n", "warning: not finished, or without a hold-out, and left out: x\n")
    assert afdctl("runs", "best", "--runs", "unfinished", "--where", "name=x").code == 3
