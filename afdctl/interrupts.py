"""Turn signals into flags or exceptions, so that a run stops at a safe place."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from afdctl.errors import StoppedError

# Ends the message of a stopped command whose finished work is skipped when it is repeated.
RESUME_HINT = "resume with the same command"
# Shows the terminal's cursor again, which a progress bar hides.
SHOW_CURSOR = b"\x1b[?25h"

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handlers = dict[signal.Signals, Callable[[int, FrameType | None], None]]


def exit_now(number: int, frame: FrameType | None) -> None:
    """Exit as if killed, which is safe at any time; an exception could be swallowed by a callback in C code."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), SHOW_CURSOR)
    os._exit(128 + number)


# what the same signal does again, while the first one is handled
_on_second_signal: Callable[[int, FrameType | None], None] = exit_now


class StopRequests:
    """Pending requests: `stop` is the number of a signal or None, `save` asks for a checkpoint now."""

    def __init__(self) -> None:
        self.stop: int | None = None
        self.save = False

    def on_stop(self, number: int, frame: FrameType | None) -> None:
        """Request a stop; the same signal again exits at once, or within a program raises KeyboardInterrupt."""
        self.stop = number
        signal.signal(number, _on_second_signal)

    def on_save(self, number: int, frame: FrameType | None) -> None:
        """Request a checkpoint."""
        self.save = True

    def raise_if_stopped(self, hint: str) -> None:
        """Raise StoppedError if a stop was requested; `hint` says how to resume."""
        if self.stop:
            raise StoppedError(f"stopped by {signal.Signals(self.stop).name}; {hint}", self.stop)


@contextmanager
def within_a_program() -> Iterator[None]:
    """Leave the process alive whatever the signal: its caller, such as a notebook, continues after a stop."""
    global _on_second_signal
    before, _on_second_signal = _on_second_signal, signal.default_int_handler
    try:
        yield
    finally:
        _on_second_signal = before


@contextmanager
def catch_signals() -> Iterator[StopRequests]:
    """Record SIGINT, SIGTERM, SIGHUP (stop) and SIGUSR1 (save) as requests, until the end of the block."""
    requests = StopRequests()
    handlers: Handlers = dict.fromkeys(STOP_SIGNALS, requests.on_stop)
    with _handle(handlers | {signal.SIGUSR1: requests.on_save}):
        yield requests


@contextmanager
def raise_on_signal(when: str = "before the training started") -> Iterator[None]:
    """Raise StoppedError on SIGINT, SIGTERM or SIGHUP, where there is nothing to save; the message says `when`."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedError(f"stopped by {signal.Signals(number).name} {when}", number)

    with _handle(dict.fromkeys(STOP_SIGNALS, stop)):
        yield


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Delay SIGINT, SIGTERM and SIGHUP until the end, while an exception would interrupt a set-up half-way."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


@contextmanager
def _handle(handlers: Handlers) -> Iterator[None]:
    """Install signal handlers; restore the previous ones afterwards, except where a stop was requested.

    Python delivers signals to the main thread only, so there are none to handle in another one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        del handlers[signal.SIGHUP]  # nohup asked to ignore it
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            # after a request to stop the process is about to exit: a second Ctrl-C must not raise KeyboardInterrupt
            if signal.getsignal(number) is not exit_now:
                signal.signal(number, handler)
