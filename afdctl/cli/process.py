"""The process of a command: its terminal and streams, Ctrl-C during slow imports, memory and threads."""

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOWrapper
from typing import Any, Final, TextIO

from afdctl.errors import StoppedError
from afdctl.formatting import printable


def is_interactive() -> bool:
    """Return whether a dashboard can be opened. It draws on stderr and reads stdin; stdout may be a pipe."""
    return sys.stdin.isatty() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and _is_in_foreground()


def _is_in_foreground() -> bool:
    """Return whether this is the foreground job; a background job would be stopped when it reads a key."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        # not a controlling terminal, as in tests
        return True


def is_served() -> bool:
    """Return whether this process draws for a browser: textual-serve sets the variable."""
    return "TEXTUAL_DRIVER" in os.environ


class EscapingStream:
    """A text stream that writes control characters as escapes, and is otherwise the stream below it."""

    # click would write to the binary buffer of a stream with another encoding, past this class
    encoding = "utf-8"

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def escape_output() -> Iterator[None]:
    """Escape control characters in all that is printed inside, as names and messages can come from any file."""
    _open_closed_streams()
    # a character that the terminal cannot show becomes "?" instead of an error after hours of work
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "replace"), (sys.stdin, "surrogateescape")):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=errors)
    with redirect_stdout(EscapingStream(sys.stdout)), redirect_stderr(EscapingStream(sys.stderr)):
        yield


def raw_stream(stream: TextIO) -> TextIO:
    """Return the stream below `escape_output`, for text with afdctl's own escape sequences."""
    return stream.stream if isinstance(stream, EscapingStream) else stream


def _open_closed_streams() -> None:
    """Open /dev/null for each standard stream that was closed at the start (`>&-`, as by some cron daemons).

    Otherwise the next file to be opened, such as a journal, would get its descriptor and what libraries print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def broken_pipe_error(message: str = "") -> StoppedError:
    """Discard further output, and return an error that exits with 141; a training saves first.

    Most commands end without a message, as `head` expects of them. A message appears if only stdout is closed.
    """
    discard_output(*([sys.stdout] if message else []))
    return StoppedError(message, signal.SIGPIPE)


def discard_output(*streams: TextIO) -> None:
    """Send all further output to /dev/null, by default that of stdout and stderr."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in streams or (sys.stdout, sys.stderr):
        # the interpreter flushes what is left in the buffer at exit, which would fail again
        os.dup2(null, stream.fileno())


# parameter numbers of mallopt(3), and bytes; 32 MiB is the largest mmap threshold that glibc accepts
MALLOC_SETTINGS: Final = {"TRIM_THRESHOLD": (-1, 1 << 30), "MMAP_THRESHOLD": (-3, 32 << 20)}


def keep_freed_memory() -> None:
    """Let glibc's malloc reuse large blocks instead of returning them to the system.

    A training step frees the same blocks each time, and getting them back costs a page fault per 4 KiB: about 10 % of
    a step on the CPU. Settings in the user's environment take precedence.
    """
    if platform.libc_ver()[0] != "glibc" or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    for name, (parameter, value) in MALLOC_SETTINGS.items():
        if f"MALLOC_{name}_" not in os.environ:
            ctypes.CDLL(None).mallopt(parameter, value)


def shorten_thread_spin() -> None:
    """Let threads of torch's libgomp wait without spinning for long; a value in the environment takes precedence.

    They spin while they wait for each other, beside other busy processes for longer than they work. A shorter spin
    made the training of a small network twice as fast there, and 8 % slower on an idle machine. libgomp reads the
    variable when torch is imported.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """Exit at once on Ctrl-C inside. While torch is imported, it catches the exception or fails with another one."""

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
