"""The sbatch files of docs/examples: signals, exit codes and requeues, with Slurm's commands replaced."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import afdctl
from afdctl.runs.run import Run
from tests.cli.trainings import ENVIRONMENT, LONG, wait_for

EXAMPLES = Path(afdctl.__file__).parents[1] / "docs" / "examples"
# starts what follows the name of the program, as srun does after its own options
SRUN = '#!/bin/bash\nexec "$@"\n'
SCONTROL = '#!/bin/bash\n[ "$1" = show ] && echo "$3" || echo "$@" >> requeued\n'
# torchrun, or afdctl, whose training saves at SIGTERM; it ends with the code in `ends` without a signal
PROGRAM = """#!/bin/bash
trap 'echo saved >> log; exit {at_signal}' TERM
echo "$@" >> log
[ -e ends ] && exit "$(cat ends)"
while :; do sleep 0.02; done
"""
JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "localhost", "SLURM_NNODES": "1", "SLURM_GPUS_ON_NODE": "2"}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A shell cannot trap what it inherits as ignored, and `afdctl train` in another test ignores SIGUSR1."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGUSR1, before)


def install(folder: Path, **programs: str) -> None:
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, **programs}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def start(folder: Path, script: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["bash", str(EXAMPLES / script), *arguments],
        cwd=folder,
        env={**ENVIRONMENT, **JOB, **environment, "PATH": f"{folder}:{os.environ['PATH']}"},
    )


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
@pytest.mark.parametrize(("script", "program", "code"), [("train", "torchrun", 1), ("grid", "afdctl", 143)])
def test_a_signal_saves_and_requeues(tmp_path: Path, script: str, program: str, code: int, number: int):
    # torchrun has a code of its own for a signal
    install(tmp_path, **{program: PROGRAM.format(at_signal=code)})
    job = start(tmp_path, f"{script}.sbatch", "x.toml")
    wait_for(lambda: len(lines(tmp_path / "log")) == 1)
    job.send_signal(number)
    assert job.wait(10) == 143
    assert lines(tmp_path / "log")[1:] == ["saved"]
    assert lines(tmp_path / "requeued") == ["requeue 7"]


def test_the_command_of_a_training_names_its_run_by_the_job(tmp_path: Path):
    install(tmp_path, torchrun=PROGRAM)
    (tmp_path / "ends").write_text("0")
    assert start(tmp_path, "train.sbatch", "x.toml", "--set", "seed=1").wait(10) == 0
    (command,) = lines(tmp_path / "log")
    assert command == (
        "--nnodes 1 --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint localhost:29400 --rdzv-id 7 "
        "-m afdctl train x.toml --set seed=1"
    )


@pytest.mark.parametrize(
    ("script", "program", "code", "ended"),
    [
        *(("train", "torchrun", code, code) for code in (0, 1)),
        *(("grid", "afdctl", code, ended) for code, ended in ((0, 0), (4, 0), (6, 6))),
    ],
)
def test_an_end_without_a_signal_is_the_job_s(tmp_path: Path, script: str, program: str, code: int, ended: int):
    install(tmp_path, **{program: PROGRAM})
    (tmp_path / "ends").write_text(str(code))
    assert start(tmp_path, f"{script}.sbatch", "x.toml").wait(10) == ended
    assert lines(tmp_path / "requeued") == []


@pytest.mark.slow
def test_a_requeued_job_continues_its_run(tmp_path: Path):
    install(tmp_path, torchrun=f'#!/bin/bash\nexec {sys.executable} -m torch.distributed.run "$@"\n')
    arguments = [*LONG, "--set", "train.epochs=3", "--device", "cpu"]
    job = start(tmp_path, "train.sbatch", *arguments)
    runs = tmp_path / "runs"
    wait_for(lambda: any('"step":30,' in run.journal_path.read_text() for run in Run.all(runs)), seconds=300)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(120) == 143
    assert lines(tmp_path / "requeued") == ["requeue 7"]
    assert start(tmp_path, "train.sbatch", *arguments, SLURM_RESTART_COUNT="1").wait(300) == 0
    (run,) = Run.all(runs)
    assert run.finished
