"""Exceptions of afdctl, each with its exit code.

A message is one line that says what is wrong, where, and what to do. The CLI prints it after `error: ` on stderr.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
# a full disk, a file at its size limit, an exhausted quota
NO_SPACE = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
# torch and oneDNN report exhausted host memory as a plain RuntimeError with one of these phrases
NO_MEMORY = ("allocate memory", "out of memory", "could not create a memory", "bad_alloc")
_from_python: ContextVar[bool] = ContextVar("from_python", default=False)


@contextmanager
def python_call() -> Iterator[None]:
    """Spell options in messages as arguments of the Python API, until the end of the block or function."""
    token = _from_python.set(True)
    try:
        yield
    finally:
        _from_python.reset(token)


def option(name: str, value: str | None = None) -> str:
    """Spell an option, perhaps with its value, in a message: `--data-dir x`, or `data_dir=x` in Python."""
    if _from_python.get():
        return f"{name.replace('-', '_')}={value or ''}"
    return f"--{name}" if value is None else f"--{name} {value}"


class AfdctlError(Exception):
    """The run failed or a check did not hold."""

    exit_code = 1


class RecipeError(AfdctlError):
    """The command or the recipe is wrong."""

    exit_code = 2


class UserCodeError(RecipeError):
    """A user's code raised an exception; the message has its file and line."""


class NotFoundError(AfdctlError):
    """A run, a checkpoint or a file does not exist."""

    exit_code = 3


class CorruptError(NotFoundError):
    """The content of a file differs from what was written."""


class DataMissingError(NotFoundError):
    """A data set is not on this machine and could not be downloaded."""


class BusyError(AfdctlError):
    """Another process is writing this run."""

    exit_code = 4


class DiskFullError(AfdctlError):
    """No space is left for a write; earlier writes are intact."""

    exit_code = 5
    remedy = "free some space, then resume: a training with --resume, a sweep by repeating its command"


class DivergedError(AfdctlError):
    """A loss or a gradient became NaN or infinite."""

    exit_code = 6


class NoResultsError(AfdctlError):
    """Nothing was measured that could be shown, compared or judged."""

    exit_code = 7


class SilentError(AfdctlError):
    """An error that another process of the same training prints."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


class StoppedError(AfdctlError):
    """A signal ended the run after its current step was finished and saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Name `path` in every OSError, and raise DiskFullError for the system's "no space" errors."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise DiskFullError(f"{path}: {error.strerror}; {DiskFullError.remedy}") from error
        # errors of read and write name no file, and those of replace name a temporary file
        if error.filename is None or str(error.filename).endswith(".tmp"):
            error.filename, error.filename2 = str(path), None
        raise


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that host or device memory is exhausted."""
    # torch.OutOfMemoryError, by name: this module must not import torch
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError | OSError) and any(phrase in str(error) for phrase in NO_MEMORY)


def compile_failure(error: BaseException) -> str | None:
    """Format an error of torch.compile, such as a missing C++ compiler; None for any other error."""
    if not any(kind.__module__.startswith(("torch._dynamo.", "torch._inductor.")) for kind in type(error).__mro__):
        return None
    # the first line may only name the backend, and text after the first empty line is advice for torch's developers
    reason = " ".join(str(error).partition("\n\n")[0].split())
    return f"torch.compile failed: {reason}; set train.compile = false"


def fit_in_memory(work: Callable[[int], Result], size: int) -> Result:
    """Return `work(size)`, halving `size` while memory is exhausted; AfdctlError if size 1 does not fit."""
    while size:
        try:
            return work(size)
        except Exception as error:
            if not out_of_memory(error):
                raise
        # halve outside the handler: the error's frames hold the memory of the failed attempt
        size //= 2
    raise AfdctlError("the memory is too small for a single image")
