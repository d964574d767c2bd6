"""The trainer as a process of its own, in a session of its own: nothing that happens to a terminal reaches it.

The process that is started runs the same command line; a variable of its environment names the pipe on which it reports
which runs it makes, and when the first can be resumed. What it prints is kept in memory until then, and in the run's
log.txt from then on.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import typer

from afdctl import events
from afdctl.errors import AfdctlError

if TYPE_CHECKING:
    from afdctl.store.run import Run

VARIABLE = "AFDCTL_TRAINER"


class Starter:
    """The process that started this trainer; `words` is the file with what was printed before a run began."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self.pipe = os.fdopen(descriptor, "w")
        self.words = os.dup(sys.stderr.fileno())
        self.copied = 0

    def tell(self, **what: Any) -> None:
        """Report; a starter that is gone does not matter."""
        with suppress(BrokenPipeError):
            print(json.dumps(what), file=self.pipe, flush=True)

    def await_run(self) -> None:
        """Print to the starter's file until the next run has begun."""
        say_into(self.words)

    def on_begin(self, run: "Run") -> None:
        """Print to the run's log.txt from now on, after what was printed since the run before."""
        with events.named(run.log_path):
            log = os.open(run.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            size = os.fstat(self.words).st_size
            os.write(log, os.pread(self.words, size - self.copied, self.copied))
        self.copied = size
        say_into(log)
        os.close(log)
        self.tell(begun=True)


def starter() -> Starter | None:
    """The process that started this one as a trainer, or None. Children of this one do not see it."""
    number = os.environ.pop(VARIABLE, None)
    return None if number is None else Starter(int(number))


def say_into(descriptor: int) -> None:
    """Let all that this process prints go to another file."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())


@dataclass(frozen=True)
class Started:
    """A trainer at work on its runs; `words` is what it printed before the first began."""

    process: subprocess.Popen[bytes]
    runs: "list[Run]"
    words: IO[bytes]

    def refuse_failed(self) -> None:
        """Print what the trainer printed before a run began, and exit as it did, where it failed."""
        if code := self.process.wait():
            self.words.seek(0)
            words = self.words.read().decode(errors="replace")
            typer.echo(words or f"error: the trainer ended without a word, with exit code {code}\n", err=True, nl=False)
            raise typer.Exit(code if code > 0 else 128 - code)


def start(on_runs: "Callable[[list[Run]], None]") -> Started:
    """Start the trainer of this command line and return when its first run can be resumed.

    `on_runs` gets the runs as soon as they are known. Where the trainer ends before, what it printed goes to stderr and
    its exit code is this process's. A StoppedError that a signal raises meanwhile ends it too.
    """
    # in memory where the system can: the disk may be what is full
    words = os.fdopen(os.memfd_create("words"), "w+b") if hasattr(os, "memfd_create") else TemporaryFile()  # noqa: SIM115
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "afdctl", *sys.argv[1:]],
        stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True, pass_fds=[writing],
        env={**os.environ, VARIABLE: str(writing), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    os.close(writing)
    started = Started(process, [], words)
    try:
        with os.fdopen(reading) as pipe:
            _await_begin(pipe, started, on_runs)
    except BaseException:
        # it saves what it has, or removes what it made
        process.terminate()
        process.wait()
        raise
    return started


def _await_begin(pipe: IO[str], started: Started, on_runs: "Callable[[list[Run]], None]") -> None:
    """Read what the trainer reports until a run has begun."""
    from afdctl.store.run import Run

    for line in pipe:
        told = json.loads(line)
        if "begun" in told:
            return
        started.runs.extend([Run(Path(path)) for path in told["runs"]])
        on_runs(started.runs)
    started.refuse_failed()


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
