"""Test trainings that are stopped, asked to save, or lose the reader of their output, with real processes."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from afdctl.cli.process import exit_on_interrupt
from afdctl.cli.progress import training_progress
from afdctl.errors import StoppedError
from afdctl.runs import checkpoints
from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl
from tests.cli.trainings import LONG, begin, end, events, options, wait_for
from tests.conftest import SHORT

AtWork = Callable[[str], tuple[subprocess.Popen[str], Run]]


@pytest.fixture
def at_work(folder: Path) -> Iterator[AtWork]:
    """A run of this name, which has taken its first steps."""
    begun = []

    def start(name: str) -> tuple[subprocess.Popen[str], Run]:
        process, run = begin(folder, "--name", name, *LONG), Run(folder / "runs" / name)
        begun.append(process)
        wait_for(lambda: bool(events(run, "step")))
        return process, run

    yield start
    for process in begun:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_closed_pipe_stops_the_run_and_its_message_resumes_it(folder: Path, here: Afdctl):
    process = begin(folder, "digits_nt", "--name", "head", "--json", *options(SHORT))
    assert process.stdout
    assert json.loads(process.stdout.readline())["event"] == "run"
    # as `head -1` does, which is before the first checkpoint
    process.stdout.close()
    process.stdout = None
    ended = end(process)
    resume = "`afdctl train --resume runs/head`"
    assert (ended.code, ended.err) == (
        141,
        f"error: runs/head: stopped, because stdout was closed; resume with {resume}\n",
    )
    resumed = here("--resume", "head")
    assert (resumed.code, resumed.out) == (0, "runs/head\n")
    assert events(Run(folder / "runs/head"), "end")[-1]["reason"] == "finished"


def test_a_closed_stdout_waits_until_the_run_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(typer, "echo", fail)
    monkeypatch.setattr("afdctl.cli.process.discard_output", lambda *_: None)
    run = Run(tmp_path)
    with training_progress(run, as_json=True) as on_line:
        on_line("{}")
        (tmp_path / "run.json").write_text("{}")
        with pytest.raises(StoppedError, match=f"resume with `afdctl train --resume {tmp_path}`") as stopped:
            on_line("{}")
    assert stopped.value.exit_code == 141


@pytest.mark.slow
def test_a_training_saves_when_asked_and_is_busy_for_others(at_work: AtWork, here: Afdctl):
    process, run = at_work("busy")
    process.send_signal(signal.SIGUSR1)
    wait_for(lambda: any(row["step"] % 39 for row in events(run, "checkpoint")))
    saved = next(row["step"] for row in events(run, "checkpoint") if row["step"] % 39)
    wait_for(lambda: events(run, "step")[-1]["step"] > saved)

    other = here("--resume", "busy")
    assert (other.code, other.out) == (4, "")
    assert other.err.startswith(f"error: run busy is being written by pid {process.pid} since ")
    assert other.err.count("\n") == 1
    assert process.poll() is None


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGINT, id="SIGINT", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, id="SIGHUP", marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_stops(at_work: AtWork, number: signal.Signals):
    process, run = at_work(number.name)
    process.send_signal(number)
    ended = end(process)
    assert (ended.code, ended.out) == (128 + number, "")
    assert ended.err.splitlines()[-1].endswith(f"resume with `afdctl train --resume runs/{number.name}`")
    last = events(run, "step")[-1]["step"]
    assert checkpoints.load(run).step == last
    assert [(row["reason"], row["exit_code"]) for row in events(run, "end")] == [("stopped", 128 + number)]


def test_ctrl_c_while_torch_is_imported_ends_at_once(folder: Path):
    process = begin(folder, "digits_nt")
    # as soon as its library is mapped, torch's import is at work
    maps = Path(f"/proc/{process.pid}/maps")
    if not maps.exists():
        pytest.skip("needs /proc to see where the process is")
    wait_for(lambda: "libtorch" in maps.read_text())
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "", "error: stopped by SIGINT before anything began\n")


def test_ctrl_c_is_as_before_once_torch_is_there():
    # a job in the background begins with SIGINT ignored, which would be left so
    before, begun = signal.default_int_handler, signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with exit_on_interrupt():
            assert signal.getsignal(signal.SIGINT) != before
        assert signal.getsignal(signal.SIGINT) == before
    finally:
        signal.signal(signal.SIGINT, begun)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--no-tui", "--detach"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_starts_leaves_nothing_and_the_name_is_free(folder: Path, number: signal.Signals, how: str):
    process = begin(folder, "digits_nt", "--name", "early", how, *options(SHORT))
    wait_for((folder / "runs/early").exists)
    process.send_signal(number)
    ended = end(process)
    assert (ended.code, ended.out) == (128 + number, "")
    assert ended.err.splitlines()[-1] == f"error: stopped by {number.name} before the training started"
    assert not (folder / "runs/early/run.json").exists()
    with Run.begin(folder / "runs", "x", "early"):
        pass
