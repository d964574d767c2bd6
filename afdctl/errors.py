"""What can go wrong, and the exit code that says so.

A message is one line: what, where, and what to do about it. The command line prints it after `error: ` on stderr.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
NO_SPACE = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
"""What the system says of a full disk, of a file as large as it may be, and of a used-up quota."""


class AfdctlError(Exception):
    """The run failed or a check did not hold."""

    exit_code = 1


class RecipeError(AfdctlError):
    """The command or the recipe is wrong."""

    exit_code = 2


class NotFoundError(AfdctlError):
    """A run, a checkpoint or a file is not there."""

    exit_code = 3


class CorruptError(NotFoundError):
    """A file is there, but its content is not what it was when it was written."""


class DataMissingError(AfdctlError):
    """A data set is not on this machine and could not be downloaded."""


class BusyError(AfdctlError):
    """Another process writes this run."""

    exit_code = 4


class DiskFullError(AfdctlError):
    """No space is left for a write; what was written before is intact."""

    exit_code = 5
    remedy = "free some space, then go on: a training with --resume, a sweep as before"


class DivergedError(AfdctlError):
    """A loss or a gradient became NaN or infinite."""

    exit_code = 6


class StoppedError(AfdctlError):
    """A signal ended the run after its step was finished and saved."""

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


NO_MEMORY = ("allocate memory", "out of memory", "could not create a memory", "bad_alloc")
"""Words of torch's and oneDNN's errors, which for the host's memory are plain RuntimeErrors."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the memory of the host or of the device is full."""
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in NO_MEMORY)


def compile_failure(error: BaseException) -> str | None:
    """The message for an error of torch.compile, such as a missing C++ compiler; None for any other error."""
    if not any(kind.__module__.startswith(("torch._dynamo.", "torch._inductor.")) for kind in type(error).__mro__):
        return None
    # its first line may only name the backend, and everything after an empty line is advice for torch's developers
    reason = " ".join(str(error).partition("\n\n")[0].split())
    return f"torch.compile failed: {reason}; set train.compile = false"


def with_room(work: Callable[[int], Result], size: int) -> Result:
    """Return `work(size)`, or that of half the size as often as memory is full; AfdctlError where 1 is too much."""
    while size:
        try:
            return work(size)
        except Exception as error:
            if not out_of_memory(error):
                raise
        # out here nothing refers to the error, whose frames hold the memory of what was tried
        size //= 2
    raise AfdctlError("the memory is too small for a single image")
