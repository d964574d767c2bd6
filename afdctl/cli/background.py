"""The trainer as a process of its own, in a session of its own: nothing that happens to a terminal reaches it.

The process that is started runs the same command line; a variable of its environment names the pipe on which it reports
which runs it makes, and when the first can be resumed. What it prints is kept in memory until then, and in the run's
log.txt from then on.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import typer

from afdctl.errors import AfdctlError, StoppedError, file_errors
from afdctl.journal import current_writer, read_tail

if TYPE_CHECKING:
    from afdctl.runs.run import Run

TRAINER_ENV = "AFDCTL_TRAINER"


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
        redirect_output(self.words)

    def on_begin(self, run: "Run") -> None:
        """Print to the run's log.txt from now on, after what was printed since the run before."""
        with file_errors(run.log_path):
            log = os.open(run.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            size = os.fstat(self.words).st_size
            os.write(log, os.pread(self.words, size - self.copied, self.copied))
        self.copied = size
        redirect_output(log)
        os.close(log)
        self.tell(begun=True)


def starter() -> Starter | None:
    """The process that started this one as a trainer, or None. Children of this one do not see it."""
    number = os.environ.pop(TRAINER_ENV, None)
    return None if number is None else Starter(int(number))


def redirect_output(descriptor: int) -> None:
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
        stdin=subprocess.DEVNULL,
        stdout=words,
        stderr=words,
        start_new_session=True,
        pass_fds=[writing],
        env={**os.environ, TRAINER_ENV: str(writing), "PYTHONUNBUFFERED": "1"},
    )
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
    from afdctl.runs.run import Run

    for line in pipe:
        told = json.loads(line)
        if "begun" in told:
            return
        started.runs.extend([Run(Path(path)) for path in told["runs"]])
        on_runs(started.runs)
    started.refuse_failed()


def outcome(run: "Run") -> tuple[str, int, str | None] | None:
    """How a run ended: the reason, the exit code and the message; None while it is written, or if it was killed."""
    rows = [row for _, row in read_tail(run.journal_path) if row["event"] in ("end", "resume", "run", "step")]
    if not rows or rows[-1]["event"] != "end":
        return None
    return str(rows[-1].get("reason")), int(rows[-1].get("exit_code") or 0), rows[-1].get("message")


class EndedError(AfdctlError):
    """The trainer ended with this exit code and message."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


if TYPE_CHECKING:
    from afdctl.runs.run import Run


def run_with_dashboard(*, detach: bool) -> None:
    """Start the trainer of this command; then show it until its user leaves, or print the paths at once."""

    def on_runs(runs: "Sequence[Run]") -> None:
        if not detach:
            typer.echo(f"starting {runs[0].path}", err=True)

    from afdctl.interrupts import raise_on_signal, signals_blocked

    if not detach:
        # imported before there is a training that a signal meanwhile would leave alone without a word
        from afdctl.tui import app  # noqa: F401
    with raise_on_signal():
        started = start(on_runs)
        with raise_on_signal("while the dashboard opened"):
            if detach:
                _go_on(started.runs, started.process)
                return
            try:
                with signals_blocked():
                    number = show([run.path for run in started.runs])
            except BaseException:
                _goes_on(started)
                raise
    if _goes_on(started) and number:
        raise StoppedError("", signal.Signals(number))


def _goes_on(started: Started) -> bool:
    """Return whether the training outlives its dashboard; report where it goes on, or how it ended."""
    runs, process = started.runs, started.process
    if process.poll() is None and not all_finished(runs):
        _go_on(runs, process)
        return True
    # its last words are written; unloading its libraries takes a moment
    process.wait()
    finish(runs)
    started.refuse_failed()
    return False


def all_finished(runs: "Sequence[Run]") -> bool:
    """Whether all that the trainer will do is done: every run has its end, or one has a bad one."""
    ends = [outcome(run) if run.journal_path.exists() else None for run in runs]
    return all(ends) or any(end[1] for end in ends if end)


def show(paths: list[Path]) -> int:
    """Open the dashboard of the training's owner; the number of the signal that ended it, or 0."""
    from afdctl.tui.app import Dashboard
    from afdctl.tui.session import Options

    return Dashboard(paths, Options(owner=True)).show()


def finish(runs: "Sequence[Run]") -> None:
    """Print the paths of the finished runs; what ended another one is this command's error."""
    for run in runs:
        if not run.exists:
            return  # the trainer ended before it could be resumed
        ended = outcome(run)
        if ended is None:
            raise EndedError(
                f"{run.path}: the trainer ended without a word, as if it was killed; go on with "
                f"`afdctl train --resume {run.path}`; what it printed is in {run.log_path}",
                1,
            )
        reason, exit_code, message = ended
        if exit_code:
            raise EndedError(message or f"{run.path}: {reason}", exit_code)
        typer.echo(run.path)


def _go_on(runs: "Sequence[Run]", process: subprocess.Popen[bytes]) -> None:
    path = next((run.path for run in runs if current_writer(run.journal_path)), runs[0].path)
    typer.echo(
        f"{path} goes on as pid {process.pid}; come back with `afdctl watch {path}`, stop it with `kill {process.pid}`",
        err=True,
    )
    for run in runs:
        typer.echo(run.path)
    process.returncode = 0  # it is not waited for
