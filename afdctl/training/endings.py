"""How a training ends: signals, errors of one line, and what the journal says of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from afdctl.errors import (
    AfdctlError,
    DivergedError,
    StoppedError,
    UserCodeError,
    compile_failure,
    out_of_memory,
)
from afdctl.interrupts import catch_signals
from afdctl.runs import folders
from afdctl.runs.run import Run
from afdctl.training.distributed import LOST, is_lost
from afdctl.training.trainer import Trainer
from afdctl.user_code import code


@contextmanager
def run_context(trainer: Trainer) -> Iterator[None]:
    """Catch signals while training, save if one stops it, and journal in any case how the training ends."""
    if trainer.processes.size > 1:
        trainer.journal.on_line = partial(_stop_together, trainer, trainer.journal.on_line)
    with catch_signals() as trainer.stop_requests:
        try:
            with naming_the_way_out(trainer.run), explain_known_errors(), _saving_if_stopped(trainer):
                yield
        except BaseException as error:
            # the original error is what the user must see, even if it cannot be journaled
            with suppress(AfdctlError, OSError):
                trainer.log_end(*end_reason(error), str(error) or None)
            raise
        trainer.log_end("finished", 0)


def _stop_together(trainer: Trainer, on_line: Callable[[str], None] | None, line: str) -> None:
    """Show a line; if its reader is gone, stop after this step as for a signal, which all processes do together."""
    try:
        if on_line:
            on_line(line)
    except StoppedError as error:
        trainer.stop_requests.stop = error.exit_code - 128


@contextmanager
def _saving_if_stopped(trainer: Trainer) -> Iterator[None]:
    try:
        yield
    except StoppedError:
        if trainer.run.exists:
            trainer.save()
        raise


@contextmanager
def explain_known_errors() -> Iterator[None]:
    """Turn "out of memory", failures of torch.compile and errors of user code into an AfdctlError of one line."""
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise AfdctlError("out of memory; lower train.batch_size or model.width") from error
        if is_lost(error):
            raise AfdctlError(LOST) from error
        if message := compile_failure(error):
            raise AfdctlError(message) from error
        if message := code.culprit(error):
            raise UserCodeError(message) from error
        raise


@contextmanager
def naming_the_way_out(run: Run) -> Iterator[None]:
    """Add to an error of user code how to train the mended file: a resume would repeat the run's copy."""
    try:
        yield
    except UserCodeError as error:
        mended = f"no step was made: mend the file and train again; the name {run.name} is free"
        if not folders.has_no_step(run.path):
            start = f"--set model.weights={run.path} starts from its weights"
            mended = f"{run.path} keeps the code that it began with: train the mended file as another run; {start}"
        raise UserCodeError(f"{error}; {mended}") from error


def end_reason(error: BaseException) -> tuple[str, int]:
    """Return the journal's reason for the end of a training, and the process's exit code."""
    if isinstance(error, AfdctlError):
        return {StoppedError: "stopped", DivergedError: "diverged"}.get(type(error), "failed"), error.exit_code
    return "failed", 130 if isinstance(error, KeyboardInterrupt) else 1
