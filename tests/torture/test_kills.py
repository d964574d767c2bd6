"""SIGKILL at any moment: whatever reads the run works, and the same command finishes with equal results."""

import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from tests.torture.conftest import Count, Try
from tests.torture.judge import FINE, Outcome, trial
from tests.torture.process import STRACE, WRITES, Site, Started, kill_at, run, sites
from tests.torture.work import Work, disturbed

SEED = 1


@pytest.mark.parametrize(("name", "few"), [("training", 1), ("sweep", 0), ("analysis", 0)])
def test_at_random_moments(name: str, few: int, works: dict[str, Work], count: Count, attempt: Try, at: Path):
    work, draw = works[name], random.Random(SEED)
    moments = [draw.uniform(0, work.seconds) for _ in range(count(few, 40))]
    attempt(
        trial(
            f"kill -9 at a random moment, {name}",
            f"{name} killed after {seconds:.3f} s, seed {SEED}",
            disturbed(work, at, partial(kill_after, work, seconds)),
        )
        for seconds in moments
    )


@pytest.mark.skipif(not STRACE, reason="needs strace")
@pytest.mark.parametrize(("name", "few"), [("training", 0), ("sweep", 1), ("analysis", 0)])
def test_at_write_calls(name: str, few: int, works: dict[str, Work], count: Count, attempt: Try, at: Path):
    work, wanted = works[name], count(few, 200)
    found = sites(work.command, work.folder(at), WRITES)
    chosen = random.Random(SEED).sample(found, wanted) if wanted < len(found) else found
    attempt(
        trial(f"SIGKILL at a write call, {name}", f"{name} killed at {site}", disturbed(work, at, partial(kill, work, site)))
        for site in chosen
    )


def kill_after(work: Work, seconds: float, folder: Path) -> Outcome:
    started = Started([work.command], folder)
    time.sleep(seconds)
    started.send(signal.SIGKILL)
    started.wait()
    return FINE


def kill(work: Work, site: Site, folder: Path) -> Outcome:
    run(work.command, folder, kill_at(site))
    return FINE
