"""`afdctl runs show`, `compare` and `rebuild`."""

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from afdctl.export.report import page
from afdctl.formatting import format_minute
from afdctl.runs import checkpoints, results_file
from afdctl.runs.alarms import alarm_row, format_alarm
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl
from tests.journals import CHECKPOINT, PROVENANCE, analysed, epoch, steps, swept, written

Runs = dict[str, Run]


def as_json(afdctl: Afdctl, *arguments: str) -> dict[str, Any]:
    ended = afdctl("runs", *arguments, "--json")
    assert (ended.code, ended.err) == (0, "")
    found: dict[str, Any] = json.loads(ended.out)
    assert found["schema"] == "afdctl/1"
    return found


def test_show_prints_everything(afdctl: Afdctl, runs: Runs):
    good = checkpoints.save(runs["wgan"], {}, step=10, epoch=1, best=True).path
    bad = checkpoints.save(runs["wgan"], {}, step=20, epoch=2, best=False).path
    bad.write_bytes(b"bad")
    found = as_json(afdctl, "show", "wgan")
    assert found["run"]["state"] == "swept"
    assert found["recipe"]["defense"]["game"] == "wgan"
    assert found["provenance"]["torch"] == "2.14.1"
    assert [(row["acc_nat"], row["acc_adv"]) for row in found["tests"]] == [(0.95, 0.6)]
    assert [(one["file"], one["pointers"], one["intact"]) for one in found["checkpoints"]] == [
        (bad.name, ["last"], False),
        (good.name, ["best"], True),
    ]
    (attack,) = found["attacks"]
    assert attack["epsilons"] == [0, 0.05, 0.1]
    assert attack["accuracies"] == [0.97, 0.8, 0.4]
    assert attack["auc"] == pytest.approx((0.97 + 0.8) / 4 + (0.8 + 0.4) / 4)
    assert found["analyses"] == []
    assert [one["intact"] for one in found["shards"]] == [True]
    assert found["disk"]["events.ndjson"] == runs["wgan"].journal_path.stat().st_size


def test_show_names_what_is_damaged_or_missing(afdctl: Afdctl, runs: Runs):
    shard = next(runs["wgan"].shards.iterdir())
    shard.write_bytes(b"bad")
    out = afdctl("runs", "show", "wgan").out
    assert f"DAMAGED or missing: shards/{shard.name}" in out
    assert "No AutoAttack" not in out
    assert "60.0% (no AutoAttack)" in out
    out = afdctl("runs", "show", "at").out
    assert "attacks      none yet; run `afdctl sweep runs/at`" in out
    swept(runs["at"], {0.1: 0.5}, attack="pgd_linf")
    assert "No AutoAttack: robust accuracy may be lower." in afdctl("runs", "show", "at").out


def test_a_probe_is_shown_with_what_it_was(afdctl: Afdctl, folder: Path):
    rows = [*steps(1, 10), epoch(1, 0.7, 0.5) | {"acc_probe": 0.4}]
    written(folder / "runs", "probed", rows, recipe_name="mnist_at")
    lines = [line.strip() for line in afdctl("runs", "show", "probed").out.splitlines()]
    assert "hold-out: clean 70.0%, APGD-CE 50.0%, probe 40.0% (no AutoAttack), 200 images" in lines
    assert "probe: APGD-CE, APGD-T on 3 targets, 300-query Square" in lines
    assert "(40.0)" in afdctl("runs", "ls").out
    run = as_json(afdctl, "show", "probed")["run"]
    assert (run["probe"], run["pgd_n"]) == (0.4, 200)


def test_show_of_an_unfinished_run(afdctl: Afdctl, runs: Runs):
    out = afdctl("runs", "show", "young").out
    assert "young  AFD-WGAN on digits, seed 0: crashed" in out
    assert "hold-out: clean 70.0%, APGD-CE 20.0% (no AutoAttack)" in out
    assert "not started" in afdctl("runs", "show", "mnist").out


def test_show_names_the_keys_of_a_recipe_that_have_an_effect(afdctl: Afdctl, runs: Runs):
    recipe = afdctl("runs", "show", "wgan").out.partition("provenance")[0]
    for text in ("defense.game = wgan", "defense.classify = clean", "train.epochs = 60"):
        assert text in recipe
    assert not re.search(r"= (0|\[\]|—)[,\n]", recipe)


def test_show_names_a_learning_rate_of_0(afdctl: Afdctl, folder: Path):
    written(folder / "runs", "still", steps(1, 10), recipe_name="digits_dcgan", sets=["defense.lr_D=0"])
    assert "defense.lr_D = 0, " in afdctl("runs", "show", "still").out


def test_the_dates_are_those_of_the_training(afdctl: Afdctl, runs: Runs):
    run = as_json(afdctl, "show", "wgan")["run"]
    # swept later
    assert run["started"] < run["trained_until"] < run["written"]
    began, ended = (format_minute(run[key]) for key in ("started", "trained_until"))
    assert f"provenance   {began} to {ended}\n" in afdctl("runs", "show", "wgan").out
    assert "provenance   commit abc" in afdctl("runs", "show", "mnist").out


def test_show_and_report_print_alarms(afdctl: Afdctl, folder: Path):
    alarm = alarm_row("logit_scale", 10, 20.0, 16.6)
    run = written(folder / "runs", "scaled", [*steps(1, 10), alarm])
    text = f"alarm at step 10: {format_alarm(alarm)}"
    assert text in afdctl("runs", "show", "scaled").out
    assert [row["value"] for row in as_json(afdctl, "show", "scaled")["alarms"]] == [20.0]
    assert text in page.build([Record.of(run)])


def test_show_takes_one_name_from_stdin(afdctl: Afdctl, runs: Runs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("runs/at\n"))
    assert as_json(afdctl, "show", "-")["run"]["name"] == "at"
    monkeypatch.setattr("sys.stdin", io.StringIO("runs/at\nruns/wgan\n"))
    assert afdctl("runs", "show", "-").code == 2


def test_compare_shows_differences(afdctl: Afdctl, runs: Runs):
    found = as_json(afdctl, "compare", "wgan", "at")
    assert [run["name"] for run in found["runs"]] == ["wgan", "at"]
    assert found["recipe"]["attack.epsilon"] == [0.1, 0.2]
    assert found["recipe"]["defense.game"] == ["wgan", None]
    assert "seed" not in found["recipe"]
    assert found["environment"] == {}
    assert found["results"]["PGD-40 linf 0.1 (test, no AutoAttack)"] == [0.6, 0.5]
    assert found["results"]["aa linf 0.1"] == [0.4, None]
    assert [key for key in found["results"] if "AUC" in key] == ["aa AUC over 0 0.05 0.1"]
    assert "epoch" not in found["results"]
    everything = as_json(afdctl, "compare", "wgan", "at", "--all")
    assert everything["recipe"]["seed"] == [0, 0]
    assert everything["environment"]["torch"] == ["2.14.1", "2.14.1"]
    assert everything["results"]["epoch"] == [2, 2]
    out = afdctl("runs", "compare", "wgan", "at").out
    assert "environment: equal" in out
    assert "attack.epsilon" in out
    assert "no AutoAttack" in out


def test_warnings_of_a_check_accompany_the_numbers_everywhere(afdctl: Afdctl, runs: Runs):
    line = "20 of 128 checked images have no gradient that an attack could follow"
    with runs["wgan"].open_journal() as journal:
        journal.append("sanity_check", checkpoint=CHECKPOINT, data="d", version=1, n=128, warnings=[line])
    found = as_json(afdctl, "show", "wgan")
    assert [one["warnings"] for one in found["attacks"]] == [[line]]
    assert found["run"]["warnings"] == [line]
    assert [check["n"] for check in found["checks"]] == [128]
    assert f"warning: {line}" in afdctl("runs", "show", "wgan").out
    assert f"warning: wgan: {line}" in afdctl("runs", "ls").err
    assert as_json(afdctl, "compare", "wgan", "at")["results"]["warnings"] == [line, None]
    assert line in afdctl("export", "wgan", "--table", "1").out
    assert afdctl("export", "wgan", "--report", "report.html").code == 0
    assert line in Path("report.html").read_text()


def test_the_precision_that_auto_chose_is_shown_and_compared(afdctl: Afdctl, folder: Path):
    def run(name: str, **facts: Any) -> Run:
        provenance = PROVENANCE | facts
        return written(folder / "runs", name, steps(1, 10), recipe_name="digits_afd", provenance=provenance)

    low = run("low", precisions={"attack": "bf16", "train": "float32"})
    run("plain", precisions={"attack": "float32", "train": "float32"})
    run("earlier")
    assert "precisions attack bf16, training float32\n" in afdctl("runs", "show", "low").out
    assert "precisions" not in afdctl("runs", "show", "earlier").out
    assert "attack bf16, training float32" in page.build([Record.of(low)])
    for other in ("plain", "earlier"):
        assert as_json(afdctl, "compare", "low", other)["environment"] == {"precision.attack": ["bf16", "float32"]}


def test_compare_needs_two(afdctl: Afdctl, runs: Runs):
    message = "compare: name at least two runs; `afdctl runs show` shows one"
    assert afdctl("runs", "compare", "at", "at") == (2, "", f"error: {message}\n")


def content(path: Path) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, dict[str, Any]]]:
    """All data sets and all attributes of an HDF5 file, by path."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    attributes: dict[str, dict[str, Any]] = {}
    with h5py.File(path) as file:
        attributes["/"] = dict(file.attrs)
        file.visititems(lambda name, item: attributes.update({name: dict(item.attrs)}))
        file.visititems(lambda name, item: arrays.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return arrays, attributes


def test_a_rebuilt_file_equals_the_original_data_set_by_data_set(afdctl: Afdctl, runs: Runs):
    run = runs["wgan"]
    swept(run, {0.1: 0.7, 0.2: 0.3}, attack="pgd_linf")
    analysed(run, "pca", {"dims": 3, "features": 4, "share": 0.99}, {"explained": np.array([0.5, 0.9, 1.0])})
    before, attributes = content(run.results_path)
    assert set(before) >= {"train/steps", "train/epochs", "train/tests"}
    assert set(before) >= {"attacks/aa/0.1/distance", "attacks/pgd_linf/0.2/label", "analysis/pca/explained"}
    run.results_path.write_bytes(b"bad")
    assert afdctl("runs", "rebuild", "wgan") == (0, "runs/wgan/results.h5\n", "")
    after, attributes_after = content(run.results_path)
    assert list(before) == list(after)
    for name, array in before.items():
        assert array.dtype == after[name].dtype, name
        assert array.tobytes() == after[name].tobytes() or array.dtype.hasobject, name
        assert str(array.tolist()) == str(after[name].tolist()), name
    assert attributes == attributes_after


def test_rebuild_names_lost_results(afdctl: Afdctl, runs: Runs):
    shard = next(runs["wgan"].shards.iterdir())
    shard.unlink()
    ended = afdctl("runs", "rebuild", "wgan")
    assert (ended.code, ended.out) == (0, "runs/wgan/results.h5\n")
    assert ended.err.startswith(f"warning: runs/wgan/shards/{shard.name}: damaged or missing")
    assert ended.err.count("\n") == 1
    with h5py.File(runs["wgan"].results_path) as file:
        assert "attacks" not in file


def test_rebuild_of_a_run_without_a_journal_is_one_line(afdctl: Afdctl, runs: Runs):
    results_file.build(runs["at"])
    assert afdctl("runs", "rebuild", "mnist") == (
        3,
        "",
        "error: runs/mnist/events.ndjson: missing; restore it from a copy\n",
    )


ODD, BARE = os.fsdecode(b"r\xffns/ru\xffn"), os.fsdecode(b"r\xffns/ba\xffre")


@pytest.mark.parametrize(
    "command",
    [
        *(f"export {BARE} --table 1 --out t.{suffix}" for suffix in ("md", "csv", "json", "tex", "parquet")),
        f"export {ODD} --report x.html",
        f"export {ODD} --events csv --out e.csv",
        f"export {ODD} --cells parquet --out c.parquet",
        f"export {ODD} --figure 2 --out f.svg",
        f"runs ls --runs {Path(ODD).parent}",
        f"runs show {ODD}",
        f"runs compare {ODD} {BARE}",
        f"runs rebuild {ODD}",
        f"watch {ODD} --once --svg f2.svg",
    ],
)
def test_a_folder_whose_name_is_not_utf_8_is_escaped(afdctl: Afdctl, runs: Runs, command: str):
    folder = runs["wgan"].path.parents[1]
    (folder / "runs").rename(folder / Path(ODD).parent)
    for name, odd in {"wgan": ODD, "at": BARE}.items():
        (folder / odd).with_name(name).rename(folder / odd)
    ended = afdctl(*command.split())
    assert ended.code == 0, ended.err
    if "--out" in command:
        assert (folder / command.split()[-1]).read_bytes()


LOST = "warning: runs/wgan/events.ndjson: its last rows are missing"


@pytest.mark.parametrize(
    "command",
    [
        "runs show wgan",
        "runs compare wgan at",
        "runs rebuild wgan",
        "export wgan --table 1",
        "export wgan --figure 2 --out x.svg",
        "export wgan --report x.html",
        "export wgan --events csv",
        "export wgan --cells csv",
    ],
)
def test_lost_rows_are_reported_once(afdctl: Afdctl, runs: Runs, command: str):
    journal = runs["wgan"].journal_path
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    ended = afdctl(*command.split())
    assert ended.code == 0
    assert (ended.out + ended.err).count(LOST.removeprefix("" if "compare" not in command else "warning: ")) == 1
    assert f"warning: wgan: {LOST.removeprefix('warning: ')}" in afdctl("runs", "ls").err or "rebuild" in command
