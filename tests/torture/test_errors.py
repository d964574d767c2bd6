"""System calls that fail: one line names the file, exit 5 for no space, and afterwards nothing is missing."""

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.torture.calls import READS, WRITES, Site, failed_at
from tests.torture.conftest import SitesOf, Try, WorkOf
from tests.torture.forms import forms
from tests.torture.judge import FINE, Outcome, crash, differences, measured, refusal, trial
from tests.torture.process import STRACE, Ended
from tests.torture.tally import LOST, Trial
from tests.torture.work import Work, disturbed

SEED = 2
NO_SPACE = ["ENOSPC", "EDQUOT"]
WRITE_ERRORS = [*NO_SPACE, "EIO", "EROFS", "ESTALE"]
READ_ERRORS = ["EIO", "ESTALE", "EACCES"]

pytestmark = pytest.mark.skipif(not STRACE, reason="needs strace")


@pytest.mark.parametrize(("name", "number"), forms(["training", "sweep", "analysis"], {"training": 1}, 60))
def test_writes_fail(name: str, number: int, work_of: WorkOf, sites_of: SitesOf, attempt: Try, at: Path):
    attempt(trials("a write call fails", work_of(name), sites_of(name, WRITES), WRITE_ERRORS, number, at))


@pytest.mark.parametrize(("name", "number"), forms(["sweep", "analysis"], {}, 25))
def test_reads_fail(name: str, number: int, work_of: WorkOf, sites_of: SitesOf, attempt: Try, at: Path):
    attempt(trials("a read call fails", work_of(name), sites_of(name, READS), READ_ERRORS, number, at))


def trials(what: str, work: Work, found: list[Site], errors: list[str], number: int, at: Path) -> Iterator[Trial]:
    draw, tried = random.Random(SEED), 0
    # libraries open files in an order of their own: a call that met none of the run's files is no trial
    for _ in range(3 * number):
        if tried == number:
            return
        site = draw.choice(found)
        error = draw.choice([error for error in errors if site.name != "unlink" or error not in NO_SPACE])
        struck: list[str] = []
        outcome = disturbed(work, at, partial(fail, work, site, error, struck))
        if outcome:
            tried += 1
            yield trial(f"{what}, {work.name}", f"{work.name}: {site.name} on {struck[0]} fails with {error}", outcome)


def fail(work: Work, site: Site, error: str, struck: list[str], folder: Path) -> Outcome | None:
    """Let one call fail, and note the path that it touched; None where it met no file of the run."""
    ended, path = failed_at(site, error, work.command, folder)
    if path is None:
        return None
    struck.append(path)
    return judged(ended, path, error, work, folder)


def judged(ended: Ended, path: str, error: str, work: Work, folder: Path) -> Outcome:
    """The command refuses in one line, or all its results are there."""
    if bad := crash(ended):
        return bad
    if ended.code == 0:
        missing = differences(measured(folder / "runs/a"), work.truth)
        return (LOST, f"exits 0 after {error} without {', '.join(missing[:3])}") if missing else FINE
    return refusal(ended, named(path), [5] if error in NO_SPACE else [])


def named(path: str) -> list[str]:
    """Return the words that name a file: its name, that of the file it will replace, or its folder's."""
    name = Path(path).name.removeprefix(".").removesuffix(".PID.tmp")
    return [name, Path(path).parent.name] if Path(path).parent.name in ("checkpoints", "shards") else [name]
