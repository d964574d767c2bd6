"""Trainings that are stopped, asked to save, or left by their reader: real processes and signals."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from afdctl.cli.train import _leaving_at_once
from afdctl.store import checkpoints
from afdctl.store.run import Run
from tests.cli.conftest import Afdctl
from tests.cli.trainings import LONG, SIGNALS, begin, end, events, options, wait_for
from tests.conftest import SHORT


@pytest.fixture(scope="module")
def at_work(folder: Path) -> Iterator[dict[signal.Signals, tuple[subprocess.Popen[str], Run]]]:
    """A run at work for each signal; they start together too."""
    runs = folder / "runs"
    found = {number: (begin(folder, "--name", number.name, *LONG), Run(runs / number.name)) for number in SIGNALS}
    yield found
    for process, _ in found.values():
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_run_quietly_and_it_can_go_on(folder: Path, here: Afdctl):
    process = begin(folder, "digits_nt", "--name", "head", "--json", *options(SHORT))
    assert process.stdout
    assert json.loads(process.stdout.readline())["event"] == "run"
    process.stdout.close()
    process.stdout = None
    ended = end(process)
    assert (ended.code, ended.err) == (141, "")
    resumed = here("--resume", "head")
    assert (resumed.code, resumed.out) == (0, "runs/head\n")
    assert events(Run(folder / "runs/head"), "end")[-1]["reason"] == "finished"


@pytest.mark.slow
def test_a_run_at_work_saves_when_asked_and_is_busy_for_others(at_work: dict, here: Afdctl):
    process, run = at_work[signal.SIGTERM]
    wait_for(lambda: bool(events(run, "step")))
    process.send_signal(signal.SIGUSR1)
    wait_for(lambda: any(row["step"] % 39 for row in events(run, "checkpoint")))
    saved = next(row["step"] for row in events(run, "checkpoint") if row["step"] % 39)
    wait_for(lambda: events(run, "step")[-1]["step"] > saved)

    other = here("--resume", "SIGTERM")
    assert (other.code, other.out) == (4, "")
    assert other.err.startswith(f"error: run SIGTERM is being written by pid {process.pid} since ")
    assert other.err.count("\n") == 1
    assert process.poll() is None


@pytest.mark.parametrize("number", SIGNALS, ids=[number.name for number in SIGNALS])
def test_a_signal_saves_and_stops(at_work: dict, number: signal.Signals):
    process, run = at_work[number]
    wait_for(lambda: bool(events(run, "step")))
    process.send_signal(number)
    ended = end(process)
    assert (ended.code, ended.out) == (128 + number, "")
    assert ended.err.splitlines()[-1].endswith(f"go on with `afdctl train --resume runs/{number.name}`")
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
    assert end(process) == (130, "", "")


def test_ctrl_c_is_as_before_once_torch_is_there():
    before = signal.getsignal(signal.SIGINT)
    with _leaving_at_once():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
