"""stdout and stderr as streams that no text can use to steer the terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOWrapper
from typing import Any, TextIO

from afdctl.formatting import printable


class Printable:
    """A stream that shows control characters as escapes; all else is the stream beneath it."""

    encoding = "utf-8"
    """click writes beneath a stream whose encoding is ASCII, and so past this one."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def printing_safely() -> Iterator[None]:
    """Let all that a command prints go through `printable`. What makes colours itself writes to `beneath`."""
    _open_closed()
    # a terminal that cannot show a letter gets a question mark, not an error after hours of work
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "replace"), (sys.stdin, "surrogateescape")):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=errors)
    with redirect_stdout(Printable(sys.stdout)), redirect_stderr(Printable(sys.stderr)):
        yield


def _open_closed() -> None:
    """Let /dev/null stand for each of the three streams that was closed before the start (`>&-`, as some cron has it).

    Otherwise the next file that is opened, such as a journal, would be the one that libraries print into.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def beneath(stream: TextIO) -> TextIO:
    """The stream under `printing_safely`, for text whose escape sequences are afdctl's own."""
    return stream.stream if isinstance(stream, Printable) else stream
