"""Trainings in separate processes, for tests that need a process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import afdctl
from afdctl.journal import read_rows
from afdctl.runs.run import Run
from tests.cli.conftest import Ended
from tests.conftest import SHORT


def options(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


SLOW = ["digits_wgan", *options([*SHORT, "train.batch_size=64", "train.report_every=1", "attack.steps=10"])]
"""Two epochs of 20 steps, which take long enough to be killed at one of them."""
LONG = ["digits_nt", *options([*SHORT, "train.epochs=500", "train.batch_size=32", "train.report_every=1"])]
"""Minutes long, with 39 steps an epoch: a signal always finds it at work."""
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(afdctl.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def heed_signals() -> None:
    """Undo what a shell does to a job in the background, or nohup to any."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "afdctl", "train", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_signals,
    )


def end(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return Ended(process.returncode, out, err)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.02)


def events(run: Run, event: str) -> list[dict]:
    return [row for row in read_rows(run.journal_path) if row["event"] == event] if run.journal_path.exists() else []
