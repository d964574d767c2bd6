"""`afdctl train` as a user meets it: what it prints where, how it ends, and what it leaves behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import afdctl
from afdctl.cli.train import _leaving_at_once
from afdctl.events import read
from afdctl.store import checkpoints
from afdctl.store.run import Run
from tests.cli.conftest import Afdctl, Ended
from tests.conftest import SHORT


def options(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


SLOW = ["digits_wgan", *options([*SHORT, "train.batch_size=64", "train.report_every=1", "attack.steps=10"])]
"""Two epochs of 20 steps, which take long enough to be killed at one of them."""
LONG = ["digits_nt", *options([*SHORT, "train.epochs=500", "train.batch_size=32", "train.report_every=1"])]
"""Minutes long, with 39 steps an epoch: a signal always finds it at work."""
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(afdctl.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "afdctl", "train", *arguments],
        cwd=folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return Ended(process.returncode, out, err)


def wait_for(condition: Callable[[], bool]) -> None:
    patience = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.02)


def events(run: Run, event: str) -> list[dict]:
    return [row for row in read(run.journal_path) if row["event"] == event] if run.journal_path.exists() else []


@pytest.fixture(scope="module")
def begun(folder: Path) -> list[subprocess.Popen[str]]:
    """They run together, as importing torch is most of what they do."""
    seeds = begin(folder, "digits_nt", "--seeds", "0,1", *options(SHORT))
    return [seeds, begin(folder, "--name", "json", "--json", *SLOW)]


@pytest.fixture(scope="module")
def seeds(begun: list[subprocess.Popen[str]]) -> Ended:
    """Two finished runs, of the seeds 0 and 1."""
    return end(begun[0])


@pytest.fixture(scope="module")
def streamed(begun: list[subprocess.Popen[str]]) -> Ended:
    """A finished run that was never stopped."""
    return end(begun[1])


@pytest.fixture(scope="module")
def at_work(folder: Path) -> Iterator[dict[signal.Signals, tuple[subprocess.Popen[str], Run]]]:
    """A run at work for each signal; they start together too."""
    runs = folder / "runs"
    found = {number: (begin(folder, "--name", number.name, *LONG), Run(runs / number.name)) for number in SIGNALS}
    yield found
    for process, _ in found.values():
        process.kill()
        process.communicate()


def test_stdout_holds_a_path_for_each_seed_and_nothing_else(seeds: Ended, folder: Path):
    assert (seeds.code, seeds.out) == (0, "runs/digits_nt-001\nruns/digits_nt-002\n")
    assert [Run(folder / path).provenance["seed"] for path in seeds.out.split()] == [0, 1]


def test_without_a_terminal_stderr_has_a_line_an_epoch(seeds: Ended):
    assert "\x1b" not in seeds.err
    beginnings = ["digits_nt-001: ", "epoch 1/2  ", "epoch 2/2  ", "test, best"]
    # a slow machine is also told its steps
    lines = [line for line in seeds.err.splitlines() if not re.match("test, last|epoch .*  step ", line)]
    assert [line[: len(start)] for line, start in zip(lines, beginnings * 2, strict=True)] == [
        *beginnings, "digits_nt-002: ", *beginnings[1:],
    ]  # fmt: skip


def test_a_pgd_figure_says_that_it_is_no_autoattack(seeds: Ended):
    told = [line for line in seeds.err.splitlines() if "PGD" in line]
    assert len(told) >= 6
    assert [line for line in told if "(no AutoAttack)" not in line] == []


def test_json_is_the_journal(streamed: Ended, folder: Path):
    assert (streamed.code, streamed.err) == (0, "")
    journal = (folder / "runs/json/events.ndjson").read_text().splitlines()
    assert streamed.out.splitlines() == [line.rpartition("\t")[0] for line in journal]
    rows = [json.loads(line) for line in streamed.out.splitlines()]
    assert [rows[0]["event"], rows[-1]["event"], rows[-1]["reason"]] == ["run", "end", "finished"]


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


def test_a_killed_run_goes_on_to_the_weights_of_one_that_was_not(streamed: Ended, folder: Path, here: Afdctl):
    process, killed = begin(folder, "--name", "killed", "--json", *SLOW), Run(folder / "runs/killed")
    assert process.stdout
    next(line for line in process.stdout if '"event":"step"' in line and '"step":25,' in line)
    process.kill()
    process.communicate()
    assert here("--resume", "killed").code == 0

    assert [row["step"] for row in events(killed, "resume")] == [20], "it died in the middle of the second epoch"
    one, other = (checkpoints.load(run) for run in (killed, Run(folder / "runs/json")))
    assert one.step == other.step == 40
    weights, expected = (loaded.state["defense"]["network"] for loaded in (one, other))
    assert weights.keys() == expected.keys()
    different = [name for name in weights if torch.is_tensor(weights[name]) and not weights[name].equal(expected[name])]
    assert different == []


def test_a_finished_run_says_so_and_stays(seeds: Ended, folder: Path, here: Afdctl):
    journal = folder / "runs/digits_nt-001/events.ndjson"
    before = journal.read_bytes()
    assert here("--resume", "digits_nt-001") == (
        0,
        "runs/digits_nt-001\n",
        "runs/digits_nt-001: finished already; there is nothing to go on with\n",
    )
    assert journal.read_bytes() == before


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
