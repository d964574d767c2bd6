"""SIGKILL at any moment: whatever reads the run works, and the same command finishes with equal results."""

import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from tests.torture.calls import WRITES, Site, killed_at
from tests.torture.conftest import SitesOf, Try, WorkOf
from tests.torture.forms import forms
from tests.torture.judge import FINE, Outcome, trial
from tests.torture.process import STRACE, Started
from tests.torture.work import Work, disturbed

SEED = 1
WORKS = ["training", "sweep", "analysis"]


@pytest.mark.parametrize(("name", "number"), forms(WORKS, {}, 40))
def test_at_random_moments(name: str, number: int, work_of: WorkOf, attempt: Try, at: Path):
    work, draw = work_of(name), random.Random(SEED)
    moments = [draw.uniform(0, work.seconds) for _ in range(number)]
    attempt(
        trial(
            f"kill -9 at a random moment, {name}",
            f"{name} killed after {seconds:.3f} s, seed {SEED}",
            disturbed(work, at, partial(kill_after, work, seconds)),
        )
        for seconds in moments
    )


@pytest.mark.skipif(not STRACE, reason="needs strace")
@pytest.mark.parametrize(("name", "number"), forms(WORKS, {"training": 1}, 80))
def test_at_write_calls(name: str, number: int, work_of: WorkOf, sites_of: SitesOf, attempt: Try, at: Path):
    work, found = work_of(name), sites_of(name, WRITES)
    chosen = random.Random(SEED).sample(found, number) if number < len(found) else found
    attempt(
        trial(
            f"SIGKILL at a write call, {name}",
            f"{name} killed at {site}",
            disturbed(work, at, partial(kill, work, site)),
        )
        for site in chosen
    )


def kill_after(work: Work, seconds: float, folder: Path) -> Outcome:
    started = Started([work.command], folder)
    time.sleep(seconds)
    started.send(signal.SIGKILL)
    started.wait()
    return FINE


def kill(work: Work, site: Site, folder: Path) -> Outcome:
    killed_at(site, work.command, folder)
    return FINE
