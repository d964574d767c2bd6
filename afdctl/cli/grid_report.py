"""What is printed of the trainings of a grid."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl.errors import AfdctlError, BusyError, StoppedError

if TYPE_CHECKING:
    from afdctl.cluster.cells import CellRun, Outcome


class GridError(AfdctlError):
    """Some trainings are not finished; the exit code is that of the first one that failed."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class GridReport:
    """Reports trainings as they end: paths to stdout, or with `as_json` one object at the end, words to stderr."""

    def __init__(self, total: int, *, as_json: bool) -> None:
        self.total, self.as_json = total, as_json
        self.outcomes: dict[CellRun, Outcome] = {}

    def opening(self, runs: Path) -> str:
        return f"{self.total} trainings in {runs}; `afdctl watch {runs}` shows them"

    def begin(self, cell: "CellRun") -> None:
        number = [*self.outcomes, cell].index(cell) + 1
        typer.echo(f"training {number} of {self.total}: {cell.run.path} ({cell.cell})", err=True)

    def end(self, cell: "CellRun", outcome: "Outcome") -> None:
        """Report how a cell ended; called again for one that was busy before."""
        self.outcomes[cell] = outcome
        if outcome.exit_code:
            typer.echo(f"{cell.run.path} ({cell.cell}): {outcome.word}: {outcome.message}", err=True)
            return
        if not outcome.trained:
            typer.echo(f"{cell.run.path} ({cell.cell}): finished before", err=True)
        if not self.as_json:
            typer.echo(cell.run.path)

    def busy(self) -> "Iterator[CellRun]":
        """Yield the cells that another process was training."""
        codes = {cell: outcome.exit_code for cell, outcome in self.outcomes.items()}
        yield from (cell for cell, code in codes.items() if code == BusyError.exit_code)

    @property
    def progress(self) -> str:
        finished = sum(not outcome.exit_code for outcome in self.outcomes.values())
        return f"{finished} of {self.total} trainings are finished"

    def close(self) -> None:
        """Print the object of --json. Error: GridError, which names the cells that are not finished."""
        from afdctl.cluster.cells import BUSY, first_failure

        if self.as_json:
            typer.echo(json.dumps({"schema": "afdctl/1", "cells": [cell.status() for cell in self.outcomes]}))
        unfinished: dict[str, list[str]] = {}
        for cell, outcome in self.outcomes.items():
            if outcome.exit_code:
                unfinished.setdefault(outcome.word, []).append(cell.run.name)
        if unfinished:
            where = {BUSY: "busy in another process"}
            lines = [f"{where.get(word, word)}: {', '.join(names)}" for word, names in unfinished.items()]
            raise GridError("\n".join([self.progress, *lines]), first_failure(list(self.outcomes.values())))
        typer.echo(self.progress, err=True)


def stopped(error: StoppedError, report: GridReport) -> AfdctlError:
    """Return the end of a grid that a signal has stopped."""
    from afdctl.interrupts import RESUME_HINT

    reason = str(error).partition(";")[0]
    # what was closed, such as stdout, gets no message
    return GridError(f"{reason}; {report.progress}; {RESUME_HINT}", error.exit_code) if reason else error
