"""What can go wrong, and the exit code that says so.

A message is one line: what, where, and what to do about it. The command line prints it after `error: ` on stderr.
"""

import errno

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


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is about memory that could not be had: on a device, in torch on the CPU, or in Python."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in NO_MEMORY)


NO_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "Cannot allocate memory",
)
"""What torch and the system say of it where their error has no class of its own."""
