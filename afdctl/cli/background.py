"""Start a training in a background process, with or without the dashboard in front of it.

`afdctl train` on a terminal starts the same command line again as the trainer, in its own session, so that nothing that
happens to the terminal reaches it. AFDCTL_TRAINER in the trainer's environment is the descriptor of a pipe, on which
the trainer reports as JSON lines which runs it makes and when the first one can be resumed. What the trainer prints
goes to memory until then, and to the run's log.txt afterwards.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
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


class TrainerError(AfdctlError):
    """The trainer ended with this exit code and message."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ParentProcess:
    """The process that started this trainer: the pipe to it, and its file for output before a run has started."""

    def __init__(self, descriptor: int) -> None:
        # a child with a copy would keep the pipe open, and the parent waits for its end
        os.set_inheritable(descriptor, False)
        self.pipe = os.fdopen(descriptor, "w")
        self.output = os.dup(sys.stderr.fileno())
        self.copied_bytes = 0

    def report(self, **message: Any) -> None:
        """Send a message; the parent may have exited."""
        with suppress(BrokenPipeError):
            print(json.dumps(message), file=self.pipe, flush=True)

    def prepare_run(self) -> None:
        """Print to the parent's file until the next run has started."""
        redirect_output(self.output)

    def start_run(self, run: "Run") -> None:
        """Copy what was printed since the last run to the run's log.txt, and print there from now on."""
        with file_errors(run.log_path):
            log = os.open(run.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            size = os.fstat(self.output).st_size
            # pread does not move the offset of the file, at which stdout and stderr are still written
            os.write(log, os.pread(self.output, size - self.copied_bytes, self.copied_bytes))
        self.copied_bytes = size
        redirect_output(log)
        os.close(log)
        self.report(started=True)


def parent_process() -> ParentProcess | None:
    """Return the process that started this one as a trainer, or None. Children of this process do not inherit it."""
    descriptor = os.environ.pop(TRAINER_ENV, None)
    return None if descriptor is None else ParentProcess(int(descriptor))


def redirect_output(descriptor: int) -> None:
    """Send stdout and stderr to another file."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())


@dataclass(frozen=True)
class Trainer:
    """A trainer in the background, its runs, and the file with what it printed before the first one started."""

    process: subprocess.Popen[bytes]
    runs: "list[Run]"
    output: IO[bytes]

    def raise_if_failed(self) -> None:
        """Wait for the trainer; if it failed, print its output and exit with its code."""
        if code := self.process.wait():
            self.output.seek(0)
            text = self.output.read().decode(errors="replace")
            typer.echo(text or f"error: the trainer exited with code {code} and printed nothing\n", err=True, nl=False)
            raise typer.Exit(code if code > 0 else 128 - code)


def run_with_dashboard(*, detach: bool) -> None:
    """Start the trainer of this command; open the dashboard, or with `detach` print the runs' paths."""
    from afdctl.interrupts import raise_on_signal, signals_blocked

    if not detach:
        # imported before the trainer starts: a signal during the import would leave it running without a message
        from afdctl.tui import app  # noqa: F401
    with raise_on_signal():
        trainer = start_background(quiet=detach)
        with raise_on_signal("while the dashboard opened"):
            if detach:
                report_detached(trainer)
                return
            try:
                with signals_blocked():
                    number = show_dashboard([run.path for run in trainer.runs])
            except BaseException:
                report_end(trainer)
                raise
    if report_end(trainer) and number:
        raise StoppedError("", signal.Signals(number))


def start_background(*, quiet: bool) -> Trainer:
    """Start the trainer of this command line and return when its first run can be resumed.

    If the trainer ends before, its output goes to stderr, and this process exits with its code. A signal ends it too.
    """
    # in memory, as the disk may be full
    output = os.fdopen(os.memfd_create("output"), "w+b") if hasattr(os, "memfd_create") else TemporaryFile()  # noqa: SIM115
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "afdctl", *sys.argv[1:]],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        # Ctrl-C and a closing terminal signal the terminal's session, which the training must survive
        start_new_session=True,
        pass_fds=[write_end],
        # unbuffered, so that what a killed trainer printed is not lost
        env={**os.environ, TRAINER_ENV: str(write_end), "PYTHONUNBUFFERED": "1"},
    )
    # with a copy here, reading would not end when the trainer does
    os.close(write_end)
    trainer = Trainer(process=process, runs=[], output=output)
    try:
        with os.fdopen(read_end) as pipe:
            _await_first_run(pipe, trainer, quiet=quiet)
    except BaseException:
        # the trainer saves a run that has started, and removes one that has not
        process.terminate()
        process.wait()
        raise
    return trainer


def _await_first_run(pipe: IO[str], trainer: Trainer, *, quiet: bool) -> None:
    """Read the trainer's messages until its first run has started."""
    from afdctl.runs.run import Run

    for line in pipe:
        message = json.loads(line)
        if "started" in message:
            return
        trainer.runs.extend([Run(Path(path)) for path in message["runs"]])
        if not quiet:
            typer.echo(f"starting {trainer.runs[0].path}", err=True)
    trainer.raise_if_failed()


def show_dashboard(paths: list[Path]) -> int:
    """Open the dashboard for the process that started the training; return 0 or the signal that ended it."""
    from afdctl.tui.app import Dashboard
    from afdctl.tui.session import Options

    return Dashboard(paths, Options(owner=True)).show()


def report_end(trainer: Trainer) -> bool:
    """Report how the training ended, or that it continues; return whether it does."""
    if trainer.process.poll() is None and not all_finished(trainer.runs):
        report_detached(trainer)
        return True
    # the last rows are written; unloading the libraries takes a moment
    trainer.process.wait()
    report_results(trainer.runs)
    trainer.raise_if_failed()
    return False


def all_finished(runs: "Sequence[Run]") -> bool:
    """Return whether the trainer has nothing left to do: every run has ended, or one has failed."""
    ends = [read_end(run) if run.journal_path.exists() else None for run in runs]
    return all(ends) or any(end.exit_code for end in ends if end)


def report_results(runs: "Sequence[Run]") -> None:
    """Print the paths of the finished runs. TrainerError for the first one that did not finish."""
    for run in runs:
        if not run.exists:
            return  # the trainer ended before the run could be resumed
        end = read_end(run)
        if end is None:
            raise TrainerError(
                f"{run.path}: the trainer exited unexpectedly (killed?). Resume with "
                f"`afdctl train --resume {run.path}`; output is in {run.log_path}",
                exit_code=1,
            )
        if end.exit_code:
            raise TrainerError(end.message or f"{run.path}: {end.reason}", end.exit_code)
        typer.echo(run.path)


def report_detached(trainer: Trainer) -> None:
    """Print how to watch and stop the training that continues, and the paths of its runs."""
    path = next((run.path for run in trainer.runs if current_writer(run.journal_path)), trainer.runs[0].path)
    pid = trainer.process.pid
    typer.echo(
        f"{path} continues in the background (pid {pid}). Watch: `afdctl watch {path}`. Stop: `kill {pid}`.", err=True
    )
    for run in trainer.runs:
        typer.echo(run.path)
    # keeps Popen from warning that the process still runs
    trainer.process.returncode = 0


@dataclass(frozen=True)
class RunEnd:
    """How a run ended, by the last row of its journal."""

    reason: str
    exit_code: int
    message: str | None


def read_end(run: "Run") -> RunEnd | None:
    """Read how a run ended; None while it is being written, or if the trainer was killed."""

    # sweeps and analyses write after the end of a training
    rows = [row for _, row in read_tail(run.journal_path) if row["event"] in ("end", "resume", "run", "step")]
    if not rows or rows[-1]["event"] != "end":
        return None
    last = rows[-1]
    return RunEnd(str(last.get("reason")), int(last.get("exit_code") or 0), last.get("message"))
