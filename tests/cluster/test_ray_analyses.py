"""`analyze --ray`: the images of several runs, attacked in workers; if asked for, in real ones."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from afdctl.analysis.extraction import AttackAndExtract
from afdctl.cluster import ray_batches
from afdctl.cluster.ray_batches import RayBatches
from afdctl.journal import read_rows
from afdctl.runs import shards
from afdctl.runs.run import Run
from tests.analysis.conftest import make_subject
from tests.analysis.test_runner import MakeSubject, study
from tests.cli.trainings import ENVIRONMENT
from tests.cluster.test_ray_batches import FakeCluster, _fresh_worker, untimed
from tests.conftest import short, train

__all__ = ["_fresh_worker", "make_subject"]
ANALYSES = ("norms", "sensitivity", "hdh")


def results(run: Run) -> list[Any]:
    """Return the rows of features and analyses, without times, and their arrays."""
    rows = list(read_rows(run.journal_path, events=("features", "analysis")))
    arrays = [shards.read(run, row["shard"]) if row["shard"] else {} for row in rows]
    return [untimed(rows), [{name: array.tolist() for name, array in of_row.items()} for of_row in arrays]]


def test_workers_attack_the_images_of_all_runs_as_one_process_does(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("afdctl.analysis.divergence.PROBE_STEPS", 10)
    serial = [make_subject(f"serial-{name}", digest=name) for name in "ab"]
    for subject in serial:
        study(subject, *ANALYSES).run()
    shared = [make_subject(f"ray-{name}", digest=name) for name in "ab"]
    runners = [study(subject, *ANALYSES) for subject in shared]
    monkeypatch.setattr(ray_batches, "_tasks", lambda *_: [task for runner in runners for task in runner.attacks])
    cluster: Any = FakeCluster()
    executor = RayBatches(cluster, list, AttackAndExtract)
    for runner in runners:
        runner.cache.executor = executor
    runners[0].later = runners[1].pending_tasks()
    runners[0].run()
    made = [(0, 16), (16, 16), (32, 16)]
    # three pieces, and what is begun of the second run while the last batch is waited for
    assert cluster.ray.made == made * 4
    runners[1].run()
    assert cluster.ray.made == made * 6
    for one, other in zip(serial, shared, strict=True):
        assert results(one.run) == results(other.run)


@pytest.mark.slow
def test_analyses_in_two_workers_are_the_serial_ones(tmp_path: Path):
    pytest.importorskip("ray")
    for folder in ("serial", "ray"):
        for seed in (0, 1):
            train(short("digits_nt", f"seed={seed}"), tmp_path / folder, name=f"nt{seed}")
    command = [sys.executable, "-m", "afdctl", "analyze", "nt0", "nt1", "--norms", "--sensitivity", "--device", "cpu"]
    command += ["--epsilons", "0,0.05,0.1", "--batch-size", "16", "--limit", "40", "--json", "--runs"]
    where: dict[str, Any] = {"cwd": tmp_path, "env": ENVIRONMENT, "capture_output": True, "text": True}
    serial, ray = (subprocess.run([*command, *options], **where) for options in (["serial"], ["ray", "--ray", "local"]))
    assert (serial.returncode, ray.returncode) == (0, 0), ray.stderr
    assert untimed(json.loads(ray.stdout)) == untimed(json.loads(serial.stdout))
    for name in ("nt0", "nt1"):
        assert results(Run(tmp_path / "ray" / name)) == results(Run(tmp_path / "serial" / name))
