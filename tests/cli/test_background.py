"""Trainings in the background: what `--detach` prints, and mistakes that only the trainer finds."""

import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from afdctl.cli import background
from afdctl.errors import AfdctlError, StoppedError
from afdctl.journal import current_writer, read_rows
from afdctl.runs.run import Run
from afdctl.tui.app import CrashError
from tests.cli.trainings import ENVIRONMENT, LONG, options
from tests.conftest import SHORT
from tests.tui import journals


def afdctl_train(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "afdctl", "train", *words],
        cwd=folder,
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    patience = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for run in Run.all(tmp_path / "runs"):
        if writer := current_writer(run.journal_path):
            os.kill(writer.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_detached_training_goes_on_alone_and_can_be_stopped_and_resumed(folder: Path):
    began = afdctl_train(folder, "--detach", *LONG)
    run = Run(folder / "runs/digits_nt-001")
    writer = current_writer(run.journal_path)
    assert writer
    pid = writer.pid
    assert (began.returncode, began.stdout) == (0, "runs/digits_nt-001\n")
    assert began.stderr == (
        f"runs/digits_nt-001 continues in the background (pid {pid}). Watch: `afdctl watch runs/digits_nt-001`. "
        f"Stop: `kill {pid}`.\n"
    )
    assert os.getsid(pid) == pid, "a separate session, which no hang-up of a terminal reaches"
    assert run.provenance["command"].endswith(f"train --detach {shlex.join(LONG)}")
    assert "digits_nt-001: NT on digits" in run.log_path.read_text()
    wait_for(lambda: any(row["event"] == "step" for row in read_rows(run.journal_path)))

    busy = afdctl_train(folder, "--detach", "--resume", "digits_nt-001")
    assert (busy.returncode, busy.stdout) == (4, "")
    assert busy.stderr.startswith(f"error: run digits_nt-001 is being written by pid {pid} since ")
    assert busy.stderr.count("\n") == 1

    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: current_writer(run.journal_path) is None)
    end = background.read_end(run)
    assert end
    assert (end.reason, end.exit_code) == ("stopped", 143)
    again = afdctl_train(folder, "--detach", "--resume", "digits_nt-001")
    assert (again.returncode, again.stdout) == (0, "runs/digits_nt-001\n")
    assert [row["event"] for row in read_rows(run.journal_path)].count("resume") == 1


@pytest.mark.slow
def test_seeds_are_trained_one_after_the_other_each_with_its_own_output(folder: Path):
    began = afdctl_train(folder, "--detach", "digits_nt", "--seeds", "0,1", *options(SHORT))
    assert (began.returncode, began.stdout) == (0, "runs/digits_nt-001\nruns/digits_nt-002\n")
    runs = [Run(folder / path) for path in began.stdout.split()]
    wait_for(lambda: runs[1].journal_path.exists() and runs[1].finished)
    assert [run.provenance["seed"] for run in runs] == [0, 1]
    for run in runs:
        wait_for(lambda run=run: "test, best" in run.log_path.read_text())
        assert f"{run.name}: NT on digits" in run.log_path.read_text()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["digits_nt", "--device", "cuda"], 2, "error: --device cuda: not on this machine; it has: cpu\n"),
        (
            ["digits_nt", "--json"],
            2,
            "error: --json streams the journal until the training ends; leave --tui and --detach out\n",
        ),
        (["digits_nt", "--tui"], 2, "error: --detach starts without a dashboard; leave --tui out\n"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(folder: Path, words: list[str], code: int, message: str):
    ended = afdctl_train(folder, "--detach", *words)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", message)
    assert not list(folder.glob("runs/*"))


def test_the_dashboard_needs_a_terminal(folder: Path):
    ended = afdctl_train(folder, "--tui", "digits_nt")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: --tui needs a terminal on stdin and stderr; leave it out for plain lines\n"


def finished(tmp_path: Path, rows: list[journals.Row]) -> Run:
    return Run(journals.write(tmp_path / "runs" / "a-001", rows))


FAILED = CrashError("the dashboard failed")
SIGNALLED = StoppedError("stopped by SIGTERM", 15)


@pytest.mark.parametrize(("over", "error"), [(False, FAILED), (True, FAILED), (False, SIGNALLED)])
def test_whatever_ends_the_dashboard_the_training_continues_and_that_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, over: bool, error: Exception
):
    def fail(_: list[Path]) -> int:
        raise error

    run = Run(journals.write(tmp_path / "runs" / "a", journals.training() if over else journals.training(30)))
    process = subprocess.Popen(["sleep", "0" if over else "60"])
    trainer = background.Trainer(process=process, runs=[run], output=io.BytesIO())
    monkeypatch.setattr(background, "start_background", lambda quiet: trainer)
    monkeypatch.setattr(background, "show_dashboard", fail)
    try:
        with pytest.raises(type(error)):
            background.run_with_dashboard(detach=False)
        out, err = capsys.readouterr()
        assert out == f"{run.path}\n"
        assert (f"{run.path} continues in the background (pid {process.pid})" in err) == (not over)
        if not over:
            os.kill(process.pid, 0)
    finally:
        process.returncode = None
        process.kill()
        process.wait()


def test_a_finished_run_is_a_path_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = finished(tmp_path, journals.training())
    background.report_results([run])
    assert capsys.readouterr() == (f"{run.path}\n", "")


@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        (
            {"reason": "stopped", "exit_code": 143, "message": "stopped by SIGTERM; go on"},
            143,
            "stopped by SIGTERM; go on",
        ),
        ({"reason": "diverged", "exit_code": 6, "message": "L_C is not finite"}, 6, "L_C is not finite"),
        (None, 1, "the trainer exited unexpectedly (killed?). Resume with `afdctl train --resume "),
    ],
)
def test_how_the_run_ended_is_how_the_command_ends(tmp_path: Path, end: dict | None, code: int, message: str):
    run = finished(tmp_path, [*journals.training(60), *([{"event": "end", "step": 60, **end}] if end else [])])
    with pytest.raises(AfdctlError, match=re.escape(message)) as error:
        background.report_results([run])
    assert error.value.exit_code == code
