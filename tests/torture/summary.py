"""The table of all trials at the end of a session, gathered from pytest-xdist's workers.

`AFDCTL_TORTURE_REPORT=out.md` (or .json) writes it to a file too.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.torture.tally import Tally, Trial

TALLY = pytest.StashKey[Tally]()


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
