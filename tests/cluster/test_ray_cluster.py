"""`--ray`: what is refused before anything is trained; and, if asked for, a real cluster of two nodes."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from afdctl.cluster import ray_cluster
from afdctl.cluster.worker import Node
from afdctl.errors import RecipeError
from afdctl.journal import read_rows
from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl
from tests.cli.trainings import ENVIRONMENT, events, options, wait_for
from tests.conftest import SHORT

GRID = ["digits_nt", "--grid", "seed=0,1"]


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def refused(here: Afdctl, folder: Path, *arguments: str) -> str:
    ended = here(*GRID, *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert not (folder / "runs").exists()
    return ended.err


def test_without_ray_the_message_says_what_to_install(here: Afdctl, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refused(here, folder, "--ray", "local") == "error: --ray local: needs Ray; pip install 'afdctl[cluster]'\n"


def test_an_installation_that_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ImportError('libray.so: no such file')")
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecipeError, match=r"--ray local: Ray cannot be imported \(libray.so: no such file\); install"):
        ray_cluster._start("local")


def test_options_that_do_not_fit(here: Afdctl, folder: Path):
    assert "--device cuda:1: Ray chooses the GPU" in refused(here, folder, "--ray", "auto", "--device", "cuda:1")


def test_an_address_that_nothing_answers_at():
    port = closed_port()
    with pytest.raises(RecipeError, match=f"--ray 127.0.0.1:{port}: cannot be reached \\(connection refused\\)"):
        ray_cluster._check_reachable(f"127.0.0.1:{port}")
    with pytest.raises(RecipeError, match="must be local, auto or HOST:PORT"):
        ray_cluster._check_reachable("here")


def test_an_error_of_a_worker_is_one_line():
    error = RuntimeError("Traceback (most recent call last):\n  File ...\nTypeError: no such key\n")
    assert ray_cluster.last_line(error) == "TypeError: no such key"


def test_a_task_that_no_node_can_take():
    nodes = [{"Resources": {"CPU": 4.0}}, {"Resources": {"CPU": 2.0, "GPU": 1.0}}]
    ray_cluster._check_resources(nodes, 2, 1)
    with pytest.raises(RecipeError, match=r"no node has both; the nodes have 2 CPUs and 1 GPU, 4 CPUs and 0 GPUs"):
        ray_cluster._check_resources(nodes, 4, 1)


def test_what_ray_writes_while_it_connects_is_dropped(capfd: pytest.CaptureFixture[str]):
    with ray_cluster._silent_stderr():
        os.write(2, b"retry\n")
    os.write(2, b"error\n")
    assert capfd.readouterr().err == "error\n"


class FakeRay:
    """A cluster whose nodes answer with `found`."""

    class exceptions:
        RayError = OSError
        GetTimeoutError = TimeoutError

    def __init__(self, found: Node) -> None:
        self.found = found

    def remote(self, function: Any) -> "FakeRay":
        return self

    def options(self, **_: Any) -> "FakeRay":
        return self

    def get(self, reference: Any, timeout: float) -> Node:
        return self.found


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            Node("n2", ray_cluster.afdctl.__version__, False),
            "node n2 does not see /shared/runs; name a folder with --runs",
        ),
        (Node("n2", "0.0.1", True), "node n2 has afdctl 0.0.1; install "),
    ],
)
def test_a_node_that_does_not_fit(node: Node, message: str):
    pytest.importorskip("ray")
    nodes = [{"NodeID": "0" * 56, "NodeManagerAddress": "10.0.0.2"}]
    with pytest.raises(RecipeError, match=message):
        ray_cluster._check_nodes(FakeRay(node), nodes, Path("/shared/runs/.ray-0"))


def test_a_driver_leaves_no_empty_folder(tmp_path: Path):
    root = tmp_path / "a" / "runs"
    with ray_cluster._token(root) as token:
        assert token.exists()
    assert list(tmp_path.iterdir()) == []
    # one that was there before stays, and one with a run
    root.mkdir(parents=True)
    with ray_cluster._token(root):
        pass
    with ray_cluster._token(root / "more"):
        (root / "more" / "run").mkdir()
    assert (root / "more" / "run").is_dir()


SHORTER = ["train.batch_size=64", "train.report_every=1", "validation.limit=16", "test.limit=16"]


@pytest.mark.slow
def test_a_node_dies_and_the_grid_is_that_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two nodes, 12 trainings; one node is killed with its worker while both train."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")
    command = [sys.executable, "-m", "afdctl", "train", "digits_nt", *options([*SHORT, *SHORTER]), "--device", "cpu"]
    command += ["--grid", "defense.lr_C=0.02,0.05,0.1,0.2", "--seeds", "0,1,2"]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    try:
        cluster.wait_for_nodes()
        driver = subprocess.Popen(
            [*command, "--runs", "ray", "--ray", cluster.address],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: training(tmp_path / "ray") == 2, seconds=120)
        cluster.remove_node(second, allow_graceful=False)
        out, _ = driver.communicate(timeout=300)
    finally:
        cluster.shutdown()
    assert driver.returncode == 0
    # what Ray prints of the dead node is not among the paths
    assert sorted(out.split()) == sorted(f"ray/{run.name}" for run in Run.all(tmp_path / "ray"))
    assert sum(bool(events(run, "resume")) for run in Run.all(tmp_path / "ray")) == 1
    subprocess.run([*command, "--runs", "serial"], cwd=tmp_path, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE)
    serial = results(tmp_path / "serial")
    assert len(serial) == 12
    assert results(tmp_path / "ray") == serial


def training(root: Path) -> int:
    """Count the runs that are at work."""
    journals = [{row["event"] for row in read_rows(run.journal_path)} for run in Run.all(root) if run.exists]
    return sum("step" in events and "end" not in events for events in journals)


def results(root: Path) -> dict[str, Any]:
    """Return the last epochs and tests of every run, without times."""
    return {
        run.name: [
            {key: value for key, value in row.items() if key not in ("t", "seconds", "crc")}
            for row in read_rows(run.journal_path, events=("epoch", "test"))
        ][-3:]
        for run in Run.all(root)
    }
