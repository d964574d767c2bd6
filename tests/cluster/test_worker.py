"""The task that a node runs: it checks the folder and the recipe, and waits for the lock of a dead node."""

import os
from pathlib import Path

import pytest
import torch

from afdctl import recipe
from afdctl.cluster import training, worker
from afdctl.cluster.cells import BUSY, FINISHED, Outcome
from afdctl.cluster.worker import Task, run_task
from afdctl.errors import StoppedError
from afdctl.recipe.grid import short_digest
from afdctl.runs.run import Run
from tests.conftest import SHORT

TINY = [*SHORT, "train.epochs=1", "data.train_limit=64", "validation.limit=8", "test.limit=8"]


def task(folder: Path, **changes: object) -> Task:
    chosen = recipe.load("digits_nt", TINY)
    (folder / "token").touch()
    values = {
        "path": str(folder / "x"),
        "recipe": recipe.dump(chosen),
        "digest": short_digest(chosen),
        "token": str(folder / "token"),
        "device": "cpu",
        "data_dir": None,
        "threads": torch.get_num_threads(),
    }
    return Task(**(values | changes))


def test_a_task_makes_the_run_of_its_recipe_exist(tmp_path: Path):
    assert run_task(task(tmp_path)) == Outcome(FINISHED, trained=True)
    run = Run(tmp_path / "x")
    assert run.finished
    assert recipe.loads(run.recipe_text) == recipe.load("digits_nt", TINY)
    # as Ray repeats it after the death of the node that had finished it
    assert run_task(task(tmp_path)) == Outcome(FINISHED)


def test_a_node_without_the_folder_is_refused(tmp_path: Path):
    outcome = run_task(task(tmp_path, token="/nosuch/runs/.ray-0"))
    assert outcome.exit_code == 2
    assert outcome.message.endswith("does not see /nosuch/runs; name a folder with --runs that all nodes share")
    assert not (tmp_path / "x").exists()


def test_another_recipe_on_the_node_is_refused(tmp_path: Path):
    outcome = run_task(task(tmp_path, digest="00000000"))
    assert (outcome.exit_code, outcome.message[:48]) == (2, "a file that the recipe names is not the same on ")


def test_it_waits_for_a_busy_run_and_reports_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    outcomes = [Outcome(BUSY, 4), Outcome(BUSY, 4), Outcome(FINISHED)]
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(training, "make_exist", lambda *_, **__: outcomes.pop(0))
    assert run_task(task(tmp_path)) == Outcome(FINISHED)

    def stop(*_: object, **__: object) -> Outcome:
        raise StoppedError("stopped by SIGINT", 2)

    monkeypatch.setattr(training, "make_exist", stop)
    assert run_task(task(tmp_path)) == Outcome("stopped", 130, "stopped by SIGINT")


def test_a_node_reports_what_it_has(tmp_path: Path):
    found = worker.inspect_node(str(tmp_path))
    assert (found.host, found.sees_runs) == (os.uname().nodename, True)
