"""Signals at every stage, once and twice, to the process and its group: the exit code says which, and work is kept."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import pytest

import afdctl
from tests.torture.conftest import Count, Try
from tests.torture.judge import FINE, Outcome, crash, measured, trial
from tests.torture.process import Ended, Started, run
from tests.torture.tally import UNCLEAR, Trial
from tests.torture.work import ANALYZE, SWEEP, TRAIN, Work, disturbed

SEED = 6
SLOW = [*TRAIN, *"--set validation.steps=60 --set test.steps=60 --set test.limit=200".split()]
SLOW_SWEEP = [*SWEEP, "--set", "steps=150"]
NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(afdctl.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Hit:
    """A signal, sent once or twice, to a process or its group."""

    number: signal.Signals
    twice: bool
    group: bool

    def __str__(self) -> str:
        return f"{self.number.name}{' twice' if self.twice else ''}{' to the group' if self.group else ''}"

    def send(self, started: Started) -> None:
        for pause in (0.0, 0.02)[: 1 + self.twice]:
            time.sleep(pause)
            started.send(self.number, group=self.group)


HITS = [Hit(number, twice, group) for number, twice, group in product(NUMBERS, (False, True), (False, True))]
Reached = Callable[[Path], bool]


def journal_has(words: bytes, times: int = 1) -> Reached:
    """Whether the journal has come so far."""

    def reached(folder: Path) -> bool:
        path = folder / "runs/a/events.ndjson"
        return path.exists() and path.read_bytes().count(words) >= times

    return reached


STAGES: dict[str, tuple[str, Reached]] = {
    "the run's folder is made": ("training", lambda folder: (folder / "runs/a").exists()),
    "run.json is there": ("training", lambda folder: (folder / "runs/a/run.json").exists()),
    "the journal begins": ("training", journal_has(b'"event":"run"')),
    "training": ("training", journal_has(b'"event":"step"', 6)),
    "validation": ("training", journal_has(b'"step":20,')),
    "test": ("training", journal_has(b'"event":"epoch"', 3)),
    "sweep": ("sweep", journal_has(b'"event":"sweep"')),
    "a sweep's second attack": ("sweep", journal_has(b'"event":"cell"')),
    "analysis": ("analysis", journal_has(b'"event":"cell"')),
}


@pytest.fixture(scope="module")
def slow(works: dict[str, Work], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Work]:
    """The works with evaluations and attacks that take long enough for a signal to meet them."""

    def made(name: str, command: list[str]) -> Work:
        folder = works[name].folder(tmp_path_factory.mktemp(name))
        assert run(command, folder).code == 0
        return Work(name, command, works[name].start, measured(folder / "runs/a"), 0.0)

    return {"training": made("training", SLOW), "sweep": made("sweep", SLOW_SWEEP), "analysis": made("analysis", ANALYZE)}


@pytest.mark.parametrize("stage", STAGES)
def test_signals(stage: str, slow: dict[str, Work], count: Count, attempt: Try, at: Path):
    number = count(int(stage in ("run.json is there", "validation", "sweep")), len(HITS))
    name, reached = STAGES[stage]
    hits = HITS if number >= len(HITS) else random.Random(f"{SEED} {stage}").sample(HITS, number)
    attempt(
        trial(f"signal, {name}", f"{hit} when: {stage}", disturbed(slow[name], at, partial(strike, slow[name], hit, reached)))
        for hit in hits
    )


def strike(work: Work, hit: Hit, reached: Reached, folder: Path) -> Outcome:
    """Send the signal as soon as the work has come so far."""
    started = Started([work.command], folder)
    while started.process.is_alive() and not reached(folder):
        time.sleep(0.001)
    hit.send(started)
    return ending(started.wait()[0], hit)


def ending(ended: Ended, hit: Hit) -> Outcome:
    """128 + the signal's number, as a shell gives for a process that died of it; 0 where it came too late."""
    if hit.number == signal.SIGKILL:
        return FINE
    if ended.code is not None and ended.code in (-hit.number, 0):
        return FINE
    if bad := crash(ended):
        return bad
    wrong = ended.code != 128 + hit.number or len(ended.errors) > 1
    return (UNCLEAR, f"exits {ended.code} after {hit.number.name}: {ended.err[-200:]!r}") if wrong else FINE


def test_signals_during_imports(works: dict[str, Work], count: Count, attempt: Try, at: Path):
    """Real processes, which import torch in the first second or two."""
    number, draw = count(0, 12), random.Random(SEED)

    def trials() -> Iterator[Trial]:
        for index in range(number):
            hit, seconds = HITS[index % len(HITS)], draw.uniform(0.05, 2.5)
            outcome = disturbed(works["training"], at, partial(strike_early, hit, seconds))
            yield trial("signal, start", f"{hit} after {seconds:.2f} s of a new process", outcome)

    attempt(trials())


def strike_early(hit: Hit, seconds: float, folder: Path) -> Outcome:
    process = subprocess.Popen(
        [sys.executable, "-m", "afdctl", *TRAIN], cwd=folder, env=ENVIRONMENT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(seconds)
    for _ in range(1 + hit.twice):
        if process.poll() is None:
            (os.killpg if hit.group else os.kill)(process.pid, hit.number)
        time.sleep(0.02)
    out, err = process.communicate(timeout=60)
    return ending(Ended("afdctl train", process.returncode, out, err), hit)

