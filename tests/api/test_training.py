"""Test `afdctl.train`, `resume` and `load_run`: the same bits as from the shell, and interrupts as in a notebook."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import afdctl
from afdctl import recipe
from afdctl.recipe.toml_source import toml_value
from afdctl.runs import checkpoints
from tests.cli.conftest import Afdctl
from tests.conftest import SHORT

VALUES: dict[str, Any] = {key: toml_value(text) for key, text in (line.split("=") for line in SHORT)}


@pytest.fixture(scope="module")
def trained(folder: Path) -> afdctl.LoadedRun:
    return afdctl.train("digits_nt", VALUES, runs=folder / "runs", device="cpu")


def digest(run: afdctl.LoadedRun) -> str:
    return checkpoints.load(run, "last").digest


def test_a_training_from_the_shell_has_equal_bits(trained: afdctl.LoadedRun, shell: Afdctl, folder: Path):
    options = [word for line in SHORT for word in ("--set", line)]
    ended = shell("train", "digits_nt", *options, "--device", "cpu", "--no-tui")
    assert ended.code == 0, ended.err
    assert digest(afdctl.load_run(folder / ended.out.strip())) == digest(trained)
    # in another form: a dictionary that extends a recipe, and a resolved recipe
    given = recipe.of_values({"extends": "digits_nt", **VALUES})
    assert recipe.dump(given) == recipe.dump(recipe.load("digits_nt", SHORT)) == trained.recipe_text
    assert recipe.of_values(given, {"seed": 1}).seed == 1


def test_an_interrupted_training_can_be_resumed_and_the_process_lives(trained: afdctl.LoadedRun, tmp_path: Path):
    before = signal.getsignal(signal.SIGINT)

    def interrupt(row: dict[str, Any]) -> None:
        if row["event"] == "step" and row["step"] == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(afdctl.StoppedError, match="stopped by SIGINT; resume with `afdctl train --resume") as stopped:
        afdctl.train("digits_nt", VALUES, runs=tmp_path, device="cpu", progress=interrupt)
    assert stopped.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
    run = afdctl.load_run("latest", runs=tmp_path)
    assert not run.finished
    threads = torch.get_num_threads()
    assert afdctl.resume(run).finished
    assert digest(run) == digest(trained)
    assert torch.get_num_threads() == threads
    # a finished run is only verified
    assert afdctl.resume(run) == run


def test_a_second_interrupt_raises_and_does_not_exit(tmp_path: Path):
    def interrupt(row: dict[str, Any]) -> None:
        if row["event"] == "step":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        afdctl.train("digits_nt", VALUES, runs=tmp_path, device="cpu", progress=interrupt)
    assert afdctl.load_run("latest", runs=tmp_path).name == "digits_nt-001"


def test_another_thread_can_train(tmp_path: Path):
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(afdctl.train, "digits_nt", VALUES, runs=tmp_path, device="cpu").result()
    assert run.finished


def test_progress_is_what_the_command_prints(
    folder: Path, trained: afdctl.LoadedRun, capsys: pytest.CaptureFixture[str]
):
    afdctl.train("digits_nt", VALUES, runs=folder / "shown", device="cpu", progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "digits_nt-001" in shown.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"extends": "digits_nt", "train": {"epochs": 0}}, "recipe: train.epochs = 0: must be at least 1"),
        ({"extends": "digits_n"}, 'recipe: extends = "digits_n": no such file beside this one'),
        ({"extends": "digits_nt", "train": {5: 1}}, "recipe: 5: a key must be text"),
        ({"extends": "digits_nt", "seed": 2**70}, "recipe: seed: a whole number beyond 64 bits"),
        ({"data.dataset": "digits"}, r"recipe: defense.name: missing; add it to \[defense\]"),
        ("digits_n", "digits_n: no such recipe"),
        (None, "recipe: must be a name, a path, a Recipe or a dictionary, not NoneType"),
    ],
)
def test_mistakes_in_a_recipe(given: Any, message: str, tmp_path: Path):
    with pytest.raises((afdctl.RecipeError, afdctl.NotFoundError), match=message):
        afdctl.train(given, runs=tmp_path)
    assert os.listdir(tmp_path) == []


def test_mistakes_in_arguments(trained: afdctl.LoadedRun, folder: Path):
    with pytest.raises(afdctl.RecipeError, match=r"overrides: train.epoch: no such key \(did you mean 'epochs'"):
        afdctl.train("digits_nt", {"train.epoch": 1})
    with pytest.raises(afdctl.RecipeError, match="not on this machine"):
        afdctl.train("digits_nt", device="gpu")
    with pytest.raises(afdctl.RecipeError, match=r"^name='a/b': has '/' in it"):
        afdctl.train("digits_nt", name="a/b", runs=folder / "runs")
    with pytest.raises(afdctl.NotFoundError, match=r"no such run under .*; name another folder with runs="):
        afdctl.load_run("nosuch", runs=folder)
    with pytest.raises(afdctl.RecipeError, match="exists; choose another name=, or resume"):
        afdctl.train("digits_nt", name=trained.name, runs=folder / "runs")


def test_tables_of_a_run(trained: afdctl.LoadedRun):
    rows = trained.metrics()
    assert [row["step"] for row in rows if row["event"] == "step"] == list(range(1, 11))
    assert {row["run"] for row in rows} == {trained.name}
    assert [row["event"] for row in trained.metrics(["epoch"])] == ["epoch", "epoch"]
    assert trained.recipe.train.epochs == 2
    assert (trained.summary["name"], trained.summary["epochs"]) == (trained.name, 2)
    assert (trained.cells(), trained.analyses()) == ([], {})
