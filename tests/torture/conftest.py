"""Fixtures of the torture tests: kinds of work, their system calls, and the counts of trials."""

import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

from tests.torture.calls import Site, sites
from tests.torture.summary import TALLY
from tests.torture.tally import Trial, failures
from tests.torture.work import COMMANDS, Work, make

WorkOf = Callable[[str], Work]
SitesOf = Callable[[str, tuple[str, ...]], list[Site]]
Try = Callable[[Iterable[Trial]], None]


@pytest.fixture
def attempt(pytestconfig: pytest.Config) -> Try:
    """Count trials, and fail with one line for each class of failure."""

    def attempt(trials: Iterable[Trial]) -> None:
        began = time.monotonic()
        done = list(trials)
        pytestconfig.stash[TALLY].add(done, time.monotonic() - began)
        assert done, "nothing was tried"
        found = failures(done)
        if found:
            pytest.fail("\n".join(found), pytrace=False)

    return attempt


@pytest.fixture(scope="session")
def work_of(tmp_path_factory: pytest.TempPathFactory) -> WorkOf:
    """A work by its name, done undisturbed when it is first asked for."""
    names = list(COMMANDS)

    @cache
    def work_of(name: str) -> Work:
        place = names.index(name)
        start = work_of(names[place - 1]).done if place else None
        return make(name, COMMANDS[name], start, tmp_path_factory.mktemp(name))

    return work_of


@pytest.fixture(scope="session")
def sites_of(work_of: WorkOf, tmp_path_factory: pytest.TempPathFactory) -> SitesOf:
    """The system calls of a work, found when they are first asked for."""

    @cache
    def sites_of(name: str, calls: tuple[str, ...]) -> list[Site]:
        work = work_of(name)
        return sites(work.command, work.folder(tmp_path_factory.mktemp("sites")), calls)

    return sites_of


@pytest.fixture
def at(tmp_path: Path) -> Path:
    """A folder for one trial after the other."""
    return tmp_path / "trial"
