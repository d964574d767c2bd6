"""Signals become flags that the loop reads between two steps."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from afdctl.errors import StoppedError

RESUME_HINT = "the same command goes on where this one ended"

Handlers = dict[signal.Signals, Callable[[int, FrameType | None], None]]
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """What was asked for since the last look: `stop` is a signal's number or None, `save` a checkpoint now."""

    def __init__(self) -> None:
        self.stop: int | None = None
        self.save = False

    def on_stop(self, number: int, frame: FrameType | None) -> None:
        """Finish the step and save; a second signal of the kind acts at once."""
        self.stop = number
        signal.signal(number, leave_at_once)

    def obey(self, remedy: str) -> None:
        """Raise StoppedError where a signal asked to stop; `remedy` says how to go on."""
        if self.stop:
            raise StoppedError(f"stopped by {signal.Signals(self.stop).name}; {remedy}", self.stop)

    def on_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True


def leave_at_once(number: int, frame: FrameType | None) -> None:
    """End the process as a kill does, which loses nothing: an exception would vanish in a callback of Python's own."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\x1b[?25h")  # the cursor, which a progress bar hides
    os._exit(128 + number)


@contextmanager
def catch_signals() -> Iterator[StopRequests]:
    """Catch SIGINT, SIGTERM, SIGHUP (stop) and SIGUSR1 (save) inside; the handlers before are put back."""
    requests = StopRequests()
    stop: Handlers = dict.fromkeys(STOPPING, requests.on_stop)
    with _handling(stop | {signal.SIGUSR1: requests.on_save}):
        yield requests


@contextmanager
def stopping(when: str = "before the training began") -> Iterator[None]:
    """Let a signal that stops raise StoppedError inside, where there is nothing to save; the message says `when`."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedError(f"stopped by {signal.Signals(number).name} {when}", number)

    with _handling(dict.fromkeys(STOPPING, stop)):
        yield


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Let a signal that stops wait inside until it is unblocked: an exception would break what is being set up."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


@contextmanager
def _handling(handlers: Handlers) -> Iterator[None]:
    """Handle signals by these functions inside; the handlers before are put back."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        del handlers[signal.SIGHUP]  # nohup asked for that
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
