"""Signals at every stage, once and twice, to the process and its group: the exit code says which, and work is kept."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

import pytest

import afdctl
from tests.torture.conftest import Try, WorkOf
from tests.torture.forms import forms
from tests.torture.judge import FINE, Outcome, crash
from tests.torture.process import Ended, Started
from tests.torture.tally import UNCLEAR
from tests.torture.work import ANALYZE, SWEEP, TRAIN, Work, make, trials

SEED = 6
SLOW = {
    "training": [*TRAIN, "--set", "validation.steps=60", "--set", "test.steps=60"],
    "sweep": [*SWEEP, "--set", "steps=150"],
    "analysis": ANALYZE,
}
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
    """Whether the journal has reached this stage."""

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


@pytest.fixture(scope="session")
def slow_of(work_of: WorkOf, tmp_path_factory: pytest.TempPathFactory) -> WorkOf:
    """The works with evaluations and attacks that take long enough for a signal to meet them."""

    @cache
    def slow_of(name: str) -> Work:
        return make(name, SLOW[name], work_of(name).start, tmp_path_factory.mktemp(f"slow-{name}"))

    return slow_of


@pytest.mark.parametrize(("stage", "number"), forms(STAGES, {"validation": 1}, 12))
def test_signals(stage: str, number: int, slow_of: WorkOf, attempt: Try, at: Path):
    name, reached = STAGES[stage]
    work = slow_of(name)
    hits = random.Random(f"{SEED} {stage}").sample(HITS, len(HITS))
    disturbances = ((f"{hit} when: {stage}", partial(strike, work, hit, reached)) for hit in hits)
    attempt(trials(f"signal, {name}", work, at, disturbances, number))


def strike(work: Work, hit: Hit, reached: Reached, folder: Path) -> Outcome | None:
    """Send the signal as soon as the work has reached this stage."""
    started = Started([work.command], folder)
    while started.process.is_alive() and not reached(folder):
        time.sleep(0.001)
    hit.send(started)
    return ending(started.wait()[0], hit)


def ending(ended: Ended, hit: Hit) -> Outcome | None:
    """Judge the exit code: 128 + the signal's number, as a shell gives for a process that died of it.

    None where the command had finished before the signal came.
    """
    if ended.code == 0:
        return None
    if ended.code == -hit.number:
        return FINE
    if bad := crash(ended):
        return bad
    wrong = ended.code != 128 + hit.number or len(ended.errors) > 1
    return (UNCLEAR, f"exits {ended.code} after {hit.number.name}: {ended.err[-200:]!r}") if wrong else FINE


@pytest.mark.parametrize(("name", "number"), forms(["training"], {}, 16))
def test_signals_during_imports(name: str, number: int, work_of: WorkOf, attempt: Try, at: Path):
    """Real processes, which import torch in the first second or two."""
    draw = random.Random(SEED)
    drawn = [(HITS[index % len(HITS)], draw.uniform(0.05, 2.5)) for index in range(3 * number)]
    disturbances = (
        (f"{hit} after {seconds:.2f} s of a new process", partial(strike_early, hit, seconds)) for hit, seconds in drawn
    )
    attempt(trials("signal, start", work_of(name), at, disturbances, number))


def strike_early(hit: Hit, seconds: float, folder: Path) -> Outcome | None:
    process = subprocess.Popen(
        [sys.executable, "-m", "afdctl", *TRAIN],
        cwd=folder,
        env=ENVIRONMENT,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    time.sleep(seconds)
    for _ in range(1 + hit.twice):
        if process.poll() is None:
            (os.killpg if hit.group else os.kill)(process.pid, hit.number)
        time.sleep(0.02)
    out, err = process.communicate(timeout=60)
    return ending(Ended("afdctl train", process.returncode, out, err), hit)
