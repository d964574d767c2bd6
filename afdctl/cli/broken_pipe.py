"""What a command does when nobody reads its output any more."""

import os
import signal
import sys

from afdctl.errors import StoppedError


def broken_pipe_error() -> StoppedError:
    """Send all further output nowhere; the error has no message, ends a training with a save, and exits with 141."""
    silence()
    return StoppedError("", signal.SIGPIPE)


def silence() -> None:
    """Send all further output nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        # what is left in the buffer has no reader either, and the interpreter flushes it when it exits
        os.dup2(nowhere, stream.fileno())
