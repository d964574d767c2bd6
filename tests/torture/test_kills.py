"""Test SIGKILL at any moment: every command reads the run, and the same command finishes with equal results."""

import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from tests.torture.calls import WRITES, Site, killed_at
from tests.torture.conftest import SitesOf, Try, WorkOf
from tests.torture.forms import forms
from tests.torture.judge import FINE, Outcome
from tests.torture.process import STRACE, Ended, Started
from tests.torture.work import Work, trials

SEED = 1
WORKS = ["training", "sweep", "analysis"]


@pytest.mark.parametrize(("name", "number"), forms(WORKS, {}, 40))
def test_at_random_moments(name: str, number: int, work_of: WorkOf, attempt: Try, at: Path):
    work, draw = work_of(name), random.Random(SEED)
    moments = [draw.uniform(0, work.seconds) for _ in range(3 * number)]
    disturbances = ((f"{name} killed after {at:.3f} s, seed {SEED}", partial(kill_after, work, at)) for at in moments)
    attempt(trials(f"kill -9 at a random moment, {name}", work, at, disturbances, number))


@pytest.mark.skipif(not STRACE, reason="needs strace")
@pytest.mark.parametrize(("name", "number"), forms(WORKS, {"training": 1}, 80))
def test_at_write_calls(name: str, number: int, work_of: WorkOf, sites_of: SitesOf, attempt: Try, at: Path):
    work, found = work_of(name), sites_of(name, WRITES)
    random.Random(SEED).shuffle(found)
    disturbances = ((f"{name} killed at {site}", partial(kill, work, site)) for site in found)
    attempt(trials(f"SIGKILL at a write call, {name}", work, at, disturbances, number))


def kill_after(work: Work, seconds: float, folder: Path) -> Outcome | None:
    started = Started([work.command], folder)
    time.sleep(seconds)
    started.send(signal.SIGKILL)
    return killed(started.wait()[0])


def kill(work: Work, site: Site, folder: Path) -> Outcome | None:
    return killed(killed_at(site, work.command, folder))


def killed(ended: Ended) -> Outcome | None:
    """FINE where the kill met the command, None where the command was faster."""
    return FINE if ended.code == -signal.SIGKILL else None
