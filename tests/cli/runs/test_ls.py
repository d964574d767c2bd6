"""`afdctl runs ls` lists every run, in any condition."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from afdctl.journal import Journal
from afdctl.runs import results_file
from afdctl.runs.alarms import alarm_row
from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl
from tests.journals import steps, written

Runs = dict[str, Run]


def listed(afdctl: Afdctl, *arguments: str) -> list[dict[str, Any]]:
    ended = afdctl("runs", "ls", "--json", *arguments)
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert found["schema"] == "afdctl/1"
    return list(found["runs"])


def names(afdctl: Afdctl, *arguments: str) -> list[str]:
    return [run["name"] for run in listed(afdctl, *arguments)]


def test_json_has_the_main_figures(afdctl: Afdctl, runs: Runs):
    found = {run["name"]: run for run in listed(afdctl)}
    wgan = found["wgan"]
    assert (wgan["state"], wgan["method"], wgan["dataset"]) == ("swept", "AFD-WGAN", "digits")
    assert (wgan["epoch"], wgan["epochs"], wgan["split"]) == (2, 60, "test")
    # clean accuracy is the one on most images: the test's
    assert (wgan["clean"], wgan["pgd"], wgan["pgd_attack"]) == (0.95, 0.6, "PGD-40 linf 0.1")
    assert (wgan["aa"], wgan["aa_norm"], wgan["aa_epsilon"]) == (0.4, "linf", 0.1)
    assert wgan["size"] == sum(path.stat().st_size for path in runs["wgan"].path.rglob("*") if path.is_file())
    assert wgan["started"] < wgan["written"]
    at, young, mnist = (found[name] for name in ("at", "young", "mnist"))
    assert (at["state"], at["clean"], at["aa"]) == ("finished", 0.99, None)
    assert (young["state"], young["epoch"], young["split"]) == ("crashed", 2, "validation")
    assert (young["clean"], young["pgd"]) == (0.7, 0.2)
    assert (mnist["state"], mnist["epoch"], mnist["clean"]) == ("not started", None, None)


def test_a_list_needs_no_arrays(runs: Runs, folder: Path):
    results_file.build(runs["wgan"])
    script = "import sys; from typer.testing import CliRunner; from afdctl.cli import app\n"
    script += "print(CliRunner().invoke(app, ['runs', 'ls']).exit_code, {'h5py', 'numpy', 'torch'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert ended.stdout == "0 set()\n"


def test_runs_with_alarms_are_marked(afdctl: Afdctl, runs: Runs, folder: Path):
    assert "!" not in afdctl("runs", "ls").out
    written(folder / "runs", "wild", [*steps(1, 10), alarm_row("logit_scale", 10, 20.0, 16.6)])
    out = afdctl("runs", "ls").out
    (line,) = (line for line in out.splitlines() if "wild" in line)
    assert " ! " in line
    assert "\n!: the training raised alarms; " in out
    assert names(afdctl, "--where", "alarms=1") == ["wild"]


def test_a_note_explains_the_table(afdctl: Afdctl, runs: Runs):
    ended = afdctl("runs", "ls")
    assert ended.err == ""
    rows = {line.split()[1]: line for line in ended.out.splitlines() if line.startswith("│")}
    assert list(rows) == ["wgan", "at", "young", "mnist"]
    assert "95.0" in rows["wgan"]
    assert "40.0 at 0.1 L∞" in rows["wgan"]
    assert "(70.0)" in rows["young"]
    assert "PGD: no AutoAttack" in ended.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--where", "method=at"], ["at"]),
        (["--where", "dataset=digits", "--where", "split=test"], ["wgan", "at"]),
        (["--where", "clean=0.95"], ["wgan"]),
        (["--where", "clean=95/100"], ["wgan"]),
        (["--where", "clean=high"], []),
        (["--where", "attack.epsilon=0.2"], ["at"]),
        (["--where", "defense.spectral_norm=true", "--where", "dataset=digits"], ["wgan", "young"]),
        (["--where", "epochs=61"], []),
        (["--sort", "clean"], ["young", "wgan", "at", "mnist"]),
        (["--sort", "name"], ["at", "mnist", "wgan", "young"]),
    ],
)
def test_runs_are_chosen_and_sorted(afdctl: Afdctl, runs: Runs, arguments: list[str], expected: list[str]):
    assert names(afdctl, *arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", "datset=mnist"], "--where datset: no such key; did you mean 'dataset'?"),
        (["--sort", "claen"], "--sort claen: no such key; did you mean 'clean'?"),
        (["--where", "digits"], "--where digits: write KEY=VALUE, such as dataset=mnist"),
        (["--where", "=mnist"], "--where =mnist: write KEY=VALUE, such as dataset=mnist"),
    ],
)
def test_a_mistake_is_one_line(afdctl: Afdctl, runs: Runs, arguments: list[str], message: str):
    assert afdctl("runs", "ls", *arguments) == (2, "", f"error: {message}\n")


def test_a_folder_that_is_named_and_not_there_is_not_found(afdctl: Afdctl):
    assert afdctl("runs", "ls", "--runs", "nowhere") == (3, "", "error: --runs nowhere: no such folder\n")


def test_no_runs_are_no_error(afdctl: Afdctl):
    ended = afdctl("runs", "ls")
    assert (ended.code, ended.out) == (0, "")
    assert "no run here; start one with `afdctl train`" in ended.err


def test_a_damaged_run_is_listed_with_the_others(afdctl: Afdctl, runs: Runs):
    (runs["wgan"].path / "run.json").write_text("{")
    runs["at"].recipe_path.write_text("seed = x\n")
    journal = runs["young"].journal_path
    journal.write_bytes(journal.read_bytes().replace(b'"event":"epoch"', b'"event":"apoch"'))
    (runs["mnist"].path / "run.json").write_text('{"schema": 7}')
    ended = afdctl("runs", "ls", "--json")
    found = {run["name"]: run for run in json.loads(ended.out)["runs"]}
    assert {name: run["state"] for name, run in found.items()} == {
        "wgan": "damaged",
        "at": "damaged",
        "young": "damaged",
        "mnist": "other version",
    }
    assert all(run["size"] > 0 for run in found.values())
    shown = afdctl("runs", "ls")
    warnings = shown.err.splitlines()
    assert (shown.code, len(warnings)) == (0, 4)
    assert any("at: runs/at/recipe.toml: changed since the run began" in line for line in warnings)
    assert any("young: runs/young/events.ndjson:" in line and "damaged" in line for line in warnings)
    assert any("mnist: runs/mnist: has schema 7" in line for line in warnings)


def test_a_journal_without_a_row_is_damaged(afdctl: Afdctl, runs: Runs):
    runs["wgan"].journal_path.write_bytes(b"\xff" * 5000)
    ended = afdctl("runs", "show", "wgan")
    assert "seed 0: damaged\n" in ended.out
    assert "runs/wgan/events.ndjson: damaged, none of its rows can be read; restore the file from a copy" in ended.out
    assert "last rows" not in ended.out
    shown = afdctl("runs", "ls")
    assert "│ damaged " in shown.out
    assert "wgan: runs/wgan/events.ndjson: damaged" in shown.err


def test_the_state_of_a_run_that_is_being_written(afdctl: Afdctl, runs: Runs):
    with Journal.open(runs["young"].journal_path) as young, Journal.open(runs["wgan"].journal_path) as wgan:
        assert {run["name"]: run["state"] for run in listed(afdctl)}["young"] == "training"
        wgan.append("sweep", suite="strong", n=1, seed=0, cells=[], done=[])
        young.append("end", step=13, reason="stopped", exit_code=143, message=None)
        assert {run["name"]: run["state"] for run in listed(afdctl)}["wgan"] == "sweeping"
    assert {run["name"]: run["state"] for run in listed(afdctl)} == {
        "wgan": "sweep crashed",
        "at": "finished",
        "young": "stopped",
        "mnist": "not started",
    }
