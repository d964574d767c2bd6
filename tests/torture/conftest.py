"""What the torture tests share: counts, the works, and the table at the end.

Each test comes in a short form, which is part of the default run, and a full form (`pytest -m torture`).
`AFDCTL_TORTURE_SHARE=0.1` makes the full form ten times smaller, `AFDCTL_TORTURE_REPORT=out.md` (or .json) writes the
table to a file.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.torture.tally import Tally, Trial, failures
from tests.torture.work import Work, make_works

TALLY = pytest.StashKey[Tally]()
Count = Callable[[int, int], int]
Try = Callable[[Iterable[Trial]], None]


@pytest.fixture(params=[pytest.param("short", id="short"), pytest.param("full", id="full", marks=pytest.mark.torture)])
def count(request: pytest.FixtureRequest) -> Count:
    """The number of trials: `count(short, full)`; the test is skipped where that is none."""
    share = float(os.environ.get("AFDCTL_TORTURE_SHARE", "1"))

    def count(short: int, full: int) -> int:
        number = short if request.param == "short" else max(1, round(full * share))
        if not number:
            pytest.skip("only in the full form")
        return number

    return count


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
def works(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Work]:
    return make_works(tmp_path_factory.mktemp("works"))


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Path]:
    """A folder for one trial after the other."""
    return tmp_path / "trial"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLY] = Tally()
    if hasattr(config, "workerinput"):
        return
    config.pluginmanager.register(Controller(config))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand a worker's trials to the process that controls it."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        tally = session.config.stash[TALLY]
        output["torture"] = [vars(trial) for trial in tally.trials], dict(tally.seconds)


class Controller:
    """The process that gathers the trials of all workers, prints the table and writes it."""

    def __init__(self, config: pytest.Config) -> None:
        self.tally = config.stash[TALLY]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        trials, seconds = getattr(node, "workeroutput", {}).get("torture", ([], {}))
        self.tally.add([Trial(**trial) for trial in trials])
        self.tally.seconds.update(seconds)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.tally.trials:
            return
        terminalreporter.section("torture")
        terminalreporter.write_line(self.tally.table())
        if path := os.environ.get("AFDCTL_TORTURE_REPORT"):
            self.tally.write(Path(path))
            terminalreporter.write_line(f"written to {path}")
