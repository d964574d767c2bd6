"""A training with a dashboard before it, or with nobody: the trainer is started, shown, and may be left alone."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl import events
from afdctl.cli import trainer
from afdctl.errors import StoppedError

if TYPE_CHECKING:
    from afdctl.store.run import Run


def attend(*, detach: bool) -> None:
    """Start the trainer of this command; then show it until its user leaves, or print the paths at once."""

    def on_runs(runs: "Sequence[Run]") -> None:
        if not detach:
            typer.echo(f"starting {runs[0].path}", err=True)

    from afdctl.train.signals import held, stopping

    if not detach:
        # imported before there is a training that a signal meanwhile would leave alone without a word
        from afdctl.tui import app  # noqa: F401
    with stopping():
        started = trainer.start(on_runs)
        with stopping("while the dashboard opened"):
            if detach:
                _go_on(started.runs, started.process)
                return
            try:
                with held():
                    number = show([run.path for run in started.runs])
            except BaseException:
                _goes_on(started)
                raise
    if _goes_on(started) and number:
        raise StoppedError("", signal.Signals(number))


def _goes_on(started: trainer.Started) -> bool:
    """Return whether the training outlives its dashboard; report where it goes on, or how it ended."""
    runs, process = started.runs, started.process
    if process.poll() is None and not over(runs):
        _go_on(runs, process)
        return True
    # its last words are written; unloading its libraries takes a moment
    process.wait()
    finish(runs)
    started.refuse_failed()
    return False


def over(runs: "Sequence[Run]") -> bool:
    """Whether all that the trainer will do is done: every run has its end, or one has a bad one."""
    ends = [trainer.outcome(run) if run.journal_path.exists() else None for run in runs]
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
        ended = trainer.outcome(run)
        if ended is None:
            raise trainer.EndedError(
                f"{run.path}: the trainer ended without a word, as if it was killed; go on with "
                f"`afdctl train --resume {run.path}`; what it printed is in {run.log_path}", 1,
            )  # fmt: skip
        reason, exit_code, message = ended
        if exit_code:
            raise trainer.EndedError(message or f"{run.path}: {reason}", exit_code)
        typer.echo(run.path)


def _go_on(runs: "Sequence[Run]", process: subprocess.Popen[bytes]) -> None:
    path = next((run.path for run in runs if events.alive(run.journal_path)), runs[0].path)
    typer.echo(
        f"{path} goes on as pid {process.pid}; come back with `afdctl watch {path}`, stop it with `kill {process.pid}`",
        err=True,
    )
    for run in runs:
        typer.echo(run.path)
    process.returncode = 0  # it is not waited for
