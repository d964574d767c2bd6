"""System calls that fail: one line names the file, exit 5 for no space, and afterwards nothing is missing."""

import random
from functools import partial
from pathlib import Path

import pytest

from tests.torture.conftest import Count, Try
from tests.torture.judge import FINE, Outcome, crash, differences, measured, refusal, trial
from tests.torture.process import READS, STRACE, WRITES, Site, fail_at, run, sites
from tests.torture.tally import LOST
from tests.torture.work import Work, disturbed

SEED = 2
NO_SPACE = {"ENOSPC", "EDQUOT"}
OTHERS = ["EIO", "EROFS", "ESTALE", "EACCES"]
WORKS = [("training", 1), ("sweep", 1), ("analysis", 0)]

pytestmark = pytest.mark.skipif(not STRACE, reason="needs strace")


@pytest.mark.parametrize(("name", "few"), WORKS)
def test_writes_fail(name: str, few: int, works: dict[str, Work], count: Count, attempt: Try, at: Path):
    work, draw, wanted = works[name], random.Random(SEED), count(few, 120)
    found = sites(work.command, work.folder(at), WRITES)
    pairs = [(draw.choice(found), error) for _ in range(wanted) for error in [draw.choice([*NO_SPACE, *OTHERS])]]
    attempt(
        trial(f"a write call fails, {name}", f"{name}: {site} fails with {error}", fails(work, at, site, error))
        for site, error in pairs
    )


@pytest.mark.parametrize(("name", "few"), [("sweep", 0), ("analysis", 0)])
def test_reads_fail(name: str, few: int, works: dict[str, Work], count: Count, attempt: Try, at: Path):
    work, draw, wanted = works[name], random.Random(SEED), count(few, 40)
    found = sites(work.command, work.folder(at), READS)
    pairs = [(draw.choice(found), error) for _ in range(wanted) for error in [draw.choice(["EIO", "ESTALE", "EACCES"])]]
    attempt(
        trial(f"a read call fails, {name}", f"{name}: {site} fails with {error}", fails(work, at, site, error))
        for site, error in pairs
    )


def fails(work: Work, at: Path, site: Site, error: str) -> Outcome:
    return disturbed(work, at, partial(fail, work, site, error))


def fail(work: Work, site: Site, error: str, folder: Path) -> Outcome:
    """Let one call fail: the command refuses in one line, or all its results are there."""
    ended = run(work.command, folder, fail_at(site, error))
    if bad := crash(ended):
        return bad
    if ended.code == 0:
        missing = differences(measured(folder / "runs/a"), work.truth)
        return (LOST, f"exits 0 after {error} without {', '.join(missing[:3])}") if missing else FINE
    return refusal(ended, named(site.path), [5] if error in NO_SPACE else [])


def named(path: str) -> list[str]:
    """Words that name a file: itself, what a temporary one is to become, or the folder that holds it."""
    name = Path(path).name.removeprefix(".").removesuffix(".PID.tmp")
    return [name, name.split("-")[0] if name.startswith("step-") else name, Path(path).parent.name]
