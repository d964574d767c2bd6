"""Trainings and sweeps on a file system that is too small, mounted for the test."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from afdctl.runs.run import Run
from tests.cli.trainings import ENVIRONMENT, options
from tests.conftest import SHORT

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def leave(disk: Path, kilobytes: int) -> None:
    """Fill the disk but for so much."""
    (disk / "fill").unlink(missing_ok=True)
    (disk / "fill").write_bytes(bytes(shutil.disk_usage(disk).free - 1024 * kilobytes))


def afdctl(disk: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "afdctl", *words]
    return subprocess.run(command, cwd=disk, env=ENVIRONMENT, text=True, capture_output=True, check=False)


@pytest.mark.parametrize("how", ["--no-tui", "--detach"])
@pytest.mark.parametrize(
    ("kilobytes", "file", "left"),
    [
        (0, "events.ndjson.lock", False),
        (4, "recipe.toml", False),
        (16, "checkpoints/step-00000000-", False),
        (60, "results.h5", True),
    ],
)
def test_a_training_says_what_did_not_fit(disk: Path, how: str, kilobytes: int, file: str, left: bool):
    (disk / "runs").mkdir()
    leave(disk, kilobytes)
    ended = afdctl(disk, "train", "digits_nt", *options(SHORT), "--name", "a", how)
    assert (ended.returncode, ended.stdout) == (5, "")
    assert ended.stderr.splitlines()[-1].startswith(f"error: runs/a/{file}")
    assert "No space left on device; free some space" in ended.stderr
    assert (disk / "runs/a").exists() == left
    if left:
        assert Run.find("a", disk / "runs").path.name == "a"


def test_a_sweep_whose_results_do_not_fit_does_not_exit_with_0(disk: Path):
    assert afdctl(disk, "train", "digits_nt", *options(SHORT), "--name", "a", "--no-tui").returncode == 0
    leave(disk, 28)
    command = ("sweep", "a", "--attacks", "fgsm", "--epsilons", "0,0.1", "--limit", "60")
    ended = afdctl(disk, *command)
    assert ended.returncode == 5
    assert ended.stderr.splitlines()[-1].startswith("error: runs/a/results.h5: No space left on device; free some")
    (disk / "fill").unlink()
    again = afdctl(disk, *command)
    assert (again.returncode, "1 done already" in again.stderr) == (0, True)
