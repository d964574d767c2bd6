"""The trainer as a process of its own, in a session of its own: nothing that happens to a terminal reaches it.

The process that is started runs the same command line; a variable of its environment tells it that it is the trainer,
and which folders wait for its runs. What it prints goes to the run's log.txt.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl import events
from afdctl.errors import AfdctlError, BusyError

if TYPE_CHECKING:
    from afdctl.store.run import Run

VARIABLE = "AFDCTL_TRAINER"
LOOK_SECONDS = 0.05


def reserved_names() -> list[str] | None:
    """The names of the folders that wait, in the trainer; elsewhere None. Its own children do not see them."""
    names = os.environ.pop(VARIABLE, None)
    return None if names is None else names.split(":")


def start(runs: "Sequence[Run]") -> subprocess.Popen[bytes]:
    """Start the trainer of these runs, one after the other, and return when the first has begun.

    Where it ends before that, what it said goes to stderr and its exit code is this process's.
    """
    journal, log = runs[0].journal_path, runs[0].log_path
    events.refuse_busy(journal)
    begin = _behind_last_line(journal)
    with log.open("ab") as output:
        said_before = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "afdctl", *sys.argv[1:]],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, VARIABLE: ":".join(run.name for run in runs), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    # a run that fails takes its folder along: what was said in it is still read
    with log.open("rb") as said:
        said.seek(said_before)
        try:
            _wait(process, journal, begin)
        except BaseException:
            process.terminate()
            process.wait()
            remove_empty(runs)
            raise
        if process.poll() is None or (process.returncode != BusyError.exit_code and _begun(journal, begin)):
            return process
        text = said.read().decode(errors="replace")
    remove_empty(runs)
    typer.echo(text, err=True, nl=False)
    raise typer.Exit(process.returncode if process.returncode >= 0 else 128 - process.returncode)


def remove_empty(runs: "Sequence[Run]") -> None:
    """Give back the folders in which no run was made."""
    for run in runs:
        if run.path.exists() and not (run.path / "run.json").exists():
            shutil.rmtree(run.path, ignore_errors=True)


def say_into(log: Path) -> None:
    """Let all that this process prints go to another file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)


def _wait(process: subprocess.Popen[bytes], journal: Path, begin: int) -> None:
    # another trainer that was faster writes lines too
    while process.poll() is None and not (events.alive(journal) == process.pid and _begun(journal, begin)):
        time.sleep(LOOK_SECONDS)


def _begun(journal: Path, begin: int) -> bool:
    """Whether the journal has a line from byte `begin` on."""
    from afdctl.tui.reading.follow import Follower

    follower = Follower(journal)
    follower.offset = begin
    with suppress(Exception):  # not there yet, or shorter: a killed run's torn line was cut off
        return bool(follower.read())
    return False


def _behind_last_line(journal: Path) -> int:
    try:
        with journal.open("rb") as file:
            size = file.seek(0, 2)
            begin = max(0, size - (1 << 20))
            file.seek(begin)
            return begin + file.read().rfind(b"\n") + 1
    except FileNotFoundError:
        return 0


def outcome(run: "Run") -> tuple[str, int, str | None] | None:
    """How a run ended: the reason, the exit code and the message; None while it is written, or if it was killed."""
    from afdctl.tui.reading.follow import sample

    rows = [row for _, row in sample(run.journal_path, 0) if row["event"] in ("end", "resume", "run", "step")]
    if not rows or rows[-1]["event"] != "end":
        return None
    return str(rows[-1].get("reason")), int(rows[-1].get("exit_code") or 0), rows[-1].get("message")


class EndedError(AfdctlError):
    """The trainer ended with this exit code and message."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
