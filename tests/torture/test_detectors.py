"""Test that the torture tests detect each kind of wrong outcome, made on purpose."""

import json
import os
from pathlib import Path

import h5py
import pytest
import torch

from tests.torture import test_texts
from tests.torture.flips import Damage
from tests.torture.judge import FINE, crash, differences, digest, measured, numbers, reading, refusal, worst
from tests.torture.process import Ended
from tests.torture.tally import BEGIN, END, HUNG, LOST, SURVIVED, TRACEBACK, UNCLEAR, Tally, Trial, failures

CRASHED = "Traceback (most recent call last):\n  File x\nKeyError: 'acc'\n"


def ended(code: int | None = 0, out: str = "", err: str = "") -> Ended:
    return Ended("afdctl runs show a --json", code, out, err)


@pytest.mark.parametrize(
    ("one", "outcome"),
    [
        (ended(), None),
        (ended(1, err="error: x\n"), None),
        (ended(1, err=CRASHED), TRACEBACK),
        (ended(0, err=CRASHED), TRACEBACK),
        (ended(-11), TRACEBACK),
        (ended(None), HUNG),
    ],
)
def test_crashes_are_seen(one: Ended, outcome: str | None):
    assert (crash(one) or (None, ""))[0] == outcome


@pytest.mark.parametrize(
    ("one", "outcome"),
    [
        (ended(3, err="a: starts\nerror: runs/a/run.json: damaged\n"), SURVIVED),
        (ended(0), UNCLEAR),
        (ended(3, err="error: something is damaged\n"), UNCLEAR),
        (ended(3, err="error: run.json: a\nerror: run.json: b\n"), UNCLEAR),
        (ended(1, err="error: run.json: damaged\n"), UNCLEAR),
        (ended(3, err=""), UNCLEAR),
        (ended(3, err=CRASHED), TRACEBACK),
    ],
)
def test_a_refusal_is_one_line_with_the_file_and_the_code(one: Ended, outcome: str):
    assert refusal(one, ["run.json"], [3])[0] == outcome


@pytest.mark.parametrize(
    ("out", "outcome"),
    [
        ({"clean": 0.5, "seconds": 2.0}, SURVIVED),
        ({"clean": 0.51, "seconds": 1.0}, LOST),
        ({"seconds": 1.0}, LOST),
        ({"clean": None, "damage": "run.json: damaged"}, SURVIVED),
        ({"clean": None, "damage": "something: damaged"}, LOST),
        ({"clean": 0.51, "damage": None, "files": ["run.json"]}, LOST),
        ({"clean": 0.51, "changed": [], "shard": "run.json"}, LOST),
        ({"clean": 0.51, "warnings": ["run.json: its last rows are missing"]}, SURVIVED),
        ({"clean": 0.51, "shards": [{"file": "run.json", "intact": False}]}, SURVIVED),
    ],
)
def test_a_silent_other_number_is_seen(out: dict[str, object], outcome: str):
    truth = ended(out=json.dumps({"clean": 0.5, "seconds": 1.0}))
    assert reading(ended(out=json.dumps(out)), truth, ["run.json"])[0] == outcome


def test_numbers_of_plain_text_are_compared_without_the_clock():
    line = "epoch 1  clean {}%  4,761 images/s  17:22:58  (0.{} s)"
    assert numbers(line.format(3.1, 1)) == numbers(line.format(3.1, 2)) != numbers(line.format(3.2, 1))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    torch.save({"step": 1, "state": {"w": torch.ones(3), "lr": [0.1]}}, tmp_path / "checkpoints/step-1.pt")
    (tmp_path / "checkpoints/last").write_text("step-1.pt\n")
    with h5py.File(tmp_path / "results.h5", "w") as file:
        file.attrs["complete"] = True
        group = file.create_group("attacks/fgsm")
        group.attrs.update({"accuracy": 0.5, "seconds": 1.0})
        group["correct"] = [True, False]
    return tmp_path


def test_any_change_of_a_result_is_seen(run: Path):
    truth = measured(run)
    assert set(truth) == {"complete", "/attacks/fgsm@accuracy", "/attacks/fgsm/correct", "last"}
    with h5py.File(run / "results.h5", "r+") as file:
        file["attacks/fgsm/correct"][0] = False
        file["attacks/fgsm"].attrs["seconds"] = 2.0
    torch.save(
        {"step": 1, "state": {"w": torch.ones(3).nextafter(torch.zeros(3)), "lr": [0.1]}}, run / "checkpoints/step-1.pt"
    )
    assert set(differences(measured(run), truth)) == {"/attacks/fgsm/correct", "last"}
    os.unlink(run / "results.h5")
    assert "complete" in differences(measured(run), truth)


def test_a_digest_covers_every_leaf():
    states = [{"a": [1, {"b": torch.zeros(2)}]}, {"a": [2, {"b": torch.zeros(2)}]}, {"a": [1, {"c": torch.zeros(2)}]}]
    assert len({digest(state) for state in states}) == 3


def test_the_worst_outcome_wins():
    assert worst([FINE, (UNCLEAR, "u"), (LOST, "l"), (TRACEBACK, "t")]) == (TRACEBACK, "t")
    assert worst([FINE, FINE]) == FINE


def test_damage_is_one_bit_or_a_cut():
    assert Damage(1, 0).do(b"abc") == b"acc"
    assert Damage(1, None).do(b"abc") == b"a"


@pytest.mark.parametrize(
    ("load", "outcome"),
    [
        (lambda path: {}["key"], TRACEBACK),
        (lambda path: test_texts.load_recipe(path), SURVIVED),
        (lambda path: [None for _ in iter(int, 1)], HUNG),
    ],
)
def test_texts_that_crash_or_take_too_long_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load, outcome: str
):
    monkeypatch.setattr(test_texts, "SECONDS", 0.05)
    assert test_texts.guarded(tmp_path / "recipe.toml", load)[0] == outcome


@pytest.mark.parametrize("message", ["", "a\n\nb", "x" * 2000, "red \x1b[31m"])
def test_messages_that_no_one_can_read_are_seen(message: str):
    assert test_texts.plain(message)[0] == UNCLEAR


def test_the_table_counts_each_outcome_and_groups_failures():
    tally = Tally()
    tally.add([Trial("cuts", "at 1"), *(Trial("cuts", f"at {place}", LOST, f"{place} lost") for place in (2, 3))], 4.0)
    tally.add([Trial("flips", "at 5", TRACEBACK, "KeyError: 'a'")], 1.0)
    assert tally.rows() == [
        ["cuts", 3, 1, 2, 0, 0, 0, 4],
        ["flips", 1, 0, 0, 1, 0, 0, 1],
        ["all", 4, 1, 2, 1, 0, 0, 5],
    ]
    assert failures(tally.trials) == ["2 x cuts: lost: 2 lost [at 2]", "1 x flips: traceback: KeyError: 'a' [at 5]"]
    assert "| cuts | 3 | 1 | 2 |" in tally.page()


def test_the_page_replaces_the_text_between_the_marks(tmp_path: Path):
    tally, path = Tally(), tmp_path / "page.md"
    path.write_text(f"before {BEGIN} old {END} after")
    tally.add([Trial("cuts", "at 1")])
    for _ in range(2):
        tally.write(path)
    text = path.read_text()
    assert text == f"before {BEGIN}\n{tally.page()}{END} after"
    tally.write(tmp_path / "all.json")
    assert json.loads((tmp_path / "all.json").read_text())["trials"][0]["kind"] == "cuts"
