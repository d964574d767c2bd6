"""`sweep --ray`: the batches of a sweep in workers; if asked for, in real ones, one of which is killed."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from afdctl.cluster import ray_batches
from afdctl.cluster.ray_batches import RayBatches
from afdctl.errors import AfdctlError
from afdctl.evaluation import batches
from afdctl.evaluation.batches import InProcess
from afdctl.evaluation.plan import Task, plan_white_box
from afdctl.evaluation.runner import SweepRunner
from afdctl.journal import read_rows
from afdctl.runs import shards
from afdctl.runs.run import Run
from afdctl.suites.load import Suite
from afdctl.suites.schema import ATTACKS
from tests.cli.conftest import Afdctl
from tests.cli.trainings import ENVIRONMENT, events, wait_for
from tests.conftest import short, train
from tests.targets import target_of

N = 40


def plan(runs: Path, digest: str = "digest", data_digest: str = "data") -> Sequence[Task]:
    """Plan two attacks on a linear model, as a node does."""
    x = torch.randint(256, (N, 1, 4, 4), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    target = target_of(network, x, name="model", classes=4, digest=digest, runs=runs)
    target = replace(target, data_digest=data_digest)
    specs = [ATTACKS[name](name=name, epsilons=(0.0, 0.05, 0.1), steps=5) for name in ("pgd_linf", "apgd_ce")]
    return plan_white_box([target], lambda _: Suite("mine", specs), seed=0)


class FakeRay:
    """Ray whose tasks run in this process as soon as they are made; each is made once."""

    class exceptions:
        class RayTaskError(Exception):
            pass

        class RayError(Exception):
            pass

    def __init__(self) -> None:
        self.made: list[tuple[int, int]] = []

    def get(self, result: Any) -> Any:
        if isinstance(result, Exception):
            error = self.exceptions.RayTaskError()
            error.cause = result  # type: ignore[attr-defined]
            raise error
        return result


class FakeCluster:
    """A cluster with room for two tasks of one thread."""

    threads, slots = torch.get_num_threads(), 2

    def __init__(self) -> None:
        self.ray, self.cancelled = FakeRay(), 0

    def task(self, function: Callable[..., Any]) -> Any:
        def remote(task: Any) -> Any:
            self.ray.made.append((task.first, task.size))
            try:
                return function(task)
            except Exception as error:  # noqa: BLE001
                return error

        return SimpleNamespace(remote=remote)

    def wait(self, references: list[Any], seconds: float) -> list[Any]:
        return references

    def cancel(self, references: list[Any], seconds: float) -> None:
        self.cancelled += len(references)


@pytest.fixture(autouse=True)
def _fresh_worker() -> None:
    """A worker keeps the plan of its sweep."""
    for cached in (ray_batches._tasks, ray_batches._planned, ray_batches._executor):
        cached.cache_clear()


def sweep(runs: Path, cluster: Any = None, **changes: Any) -> Run:
    runner = SweepRunner(plan(runs), suite="mine", batch_size=16)
    if cluster:
        runner.executor = RayBatches(cluster, partial(plan, runs, **changes), partial(InProcess, keep_images=False))
    runner.run()
    return Run(runs / "model")


def results(run: Run) -> dict[str, Any]:
    """Return the row of each cell without times, and its arrays as lists, in the order of the journal."""
    untimed = ("t", "crc", "seconds", "shard")
    return {
        row["key"]: (
            {key: value for key, value in row.items() if key not in untimed},
            {name: (array.dtype, array.tolist()) for name, array in shards.read(run, row["shard"]).items()},
        )
        for row in read_rows(run.journal_path, events=("cell",))
    }


def test_workers_make_what_one_process_makes(tmp_path: Path):
    serial, cluster = sweep(tmp_path / "serial"), FakeCluster()
    assert results(sweep(tmp_path / "ray", cluster)) == results(serial)
    # every batch of both attacks, the last one with the images that are left
    assert cluster.ray.made == [(0, 16), (16, 16), (32, 16)] * 2
    assert cluster.cancelled == 0


def test_full_memory_in_a_worker_halves_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    attack = batches.attack_batch

    def cramped(task: Task, model: Any, x: torch.Tensor, *rest: Any, **options: Any) -> Any:
        if len(x) > 8:
            raise torch.OutOfMemoryError("full")
        return attack(task, model, x, *rest, **options)

    monkeypatch.setattr(batches, "attack_batch", cramped)
    cluster = FakeCluster()
    run = sweep(tmp_path / "ray", cluster)
    # the attack whose result does not depend on the batch has been begun in batches of 16, and so has the next one
    assert cluster.ray.made[:4] == [(0, 16), (16, 16), (32, 16), (0, 16)]
    assert cluster.cancelled > 0
    monkeypatch.undo()
    assert {row["spec"].get("batch_size") for row in events(run, "cell")} == {None, 8}
    assert sum("the memory is full" in row["message"] for row in events(run, "warning")) == 2


@pytest.mark.parametrize("changes", [{"digest": "another network"}, {"data_digest": "other images"}])
def test_a_node_with_another_plan_is_refused(tmp_path: Path, changes: dict[str, Any]):
    with pytest.raises(AfdctlError, match=r"^on .* the plan is not the same: data, models and user files"):
        sweep(tmp_path / "runs", FakeCluster(), **changes)
    assert not events(Run(tmp_path / "runs" / "model"), "cell")


def test_a_node_without_the_folder_is_refused(tmp_path: Path):
    with pytest.raises(AfdctlError, match="does not see /nosuch; start in a folder that all share"):
        ray_batches._tasks(b"", "/nosuch")


@pytest.fixture(scope="module")
def trained(folder: Path) -> Run:
    return train(short("digits_nt"), folder / "runs", name="nt")


def test_options_that_do_not_fit(afdctl: Afdctl, trained: Run):
    def refused(*options: str) -> str:
        before = trained.journal_path.read_bytes()
        ended = afdctl("sweep", "nt", "--attacks", "fgsm", "--epsilons", "0,0.1", *options)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert trained.journal_path.read_bytes() == before
        return ended.err

    assert "--gpus-per-task: needs --ray ADDRESS" in refused("--gpus-per-task", "1")
    assert "--device cuda:1: Ray chooses" in refused("--ray", "local", "--device", "cuda:1")
    assert "--ray here: must be local, auto or HOST:PORT" in refused("--ray", "here")


@pytest.mark.slow
def test_a_sweep_in_two_workers_is_the_serial_one_though_one_is_killed(tmp_path: Path):
    pytest.importorskip("ray")
    for name in ("serial", "ray"):
        train(short("digits_nt"), tmp_path / name, name="nt")
    command = [sys.executable, "-m", "afdctl", "sweep", "nt", "--attacks", "pgd_linf,apgd_ce", "--device", "cpu"]
    command += ["--epsilons", "0,0.05,0.1", "--set", "steps=200", "--set", "early_stop=false", "--batch-size", "16"]
    command += ["--limit", "64", "--json"]
    where: dict[str, Any] = {"cwd": tmp_path, "env": ENVIRONMENT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    serial = subprocess.run([*command, "--runs", "serial"], check=True, **where)
    driver = subprocess.Popen([*command, "--runs", "ray", "--ray", "local"], **where)
    run = Run(tmp_path / "ray" / "nt")
    # a worker has the name of its task while it works
    wait_for(lambda: bool(workers(driver)), 300)
    workers(driver)[0].kill()
    out, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err
    assert results(run) == results(Run(tmp_path / "serial" / "nt"))
    assert untimed(json.loads(out)) == untimed(json.loads(serial.stdout))
    assert not [
        process for process in psutil.process_iter() if "raylet" in process.name() and process.ppid() == driver.pid
    ]


def workers(driver: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    return [one for one in psutil.Process(driver.pid).children(recursive=True) if one.cmdline()[:1] == ["ray::attack"]]


def untimed(value: Any) -> Any:
    """Leave out what differs between two sweeps with the same results."""
    if isinstance(value, dict):
        return {key: untimed(one) for key, one in value.items() if key not in ("t", "crc", "seconds", "shard")}
    return [untimed(one) for one in value] if isinstance(value, list) else value
