"""stdout and stderr as streams that no text can use to steer the terminal."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

from afdctl.formatting import printable


class Printable:
    """A stream that shows control characters as escapes; all else is the stream beneath it."""

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
    with ExitStack() as stack:
        # a stream that was closed before the start is None
        if sys.stdout:
            stack.enter_context(redirect_stdout(Printable(sys.stdout)))
        if sys.stderr:
            stack.enter_context(redirect_stderr(Printable(sys.stderr)))
        yield


def beneath(stream: TextIO) -> TextIO:
    """The stream under `printing_safely`, for text whose escape sequences are afdctl's own."""
    return stream.stream if isinstance(stream, Printable) else stream
