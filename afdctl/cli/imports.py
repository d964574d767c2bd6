"""Imports that take seconds."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """End at Ctrl-C without an exception: torch swallows one, or fails with another, while it is imported."""

    def leave(number: int, _: object) -> None:
        os.write(2, b"error: stopped by SIGINT before anything began\n")
        os._exit(128 + number)

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
