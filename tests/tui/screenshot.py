"""A pseudo terminal that runs `afdctl`, records what it writes, and checks that it restores the terminal."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import afdctl

# restore a terminal: main screen, cursor, no mouse, no bracketed paste
RESTORE_CODES = [b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?1006l", b"\x1b[?2004l"]


class Terminal:
    """A process with stdin and stderr on a pseudo terminal; stdout is a pipe."""

    def __init__(self, *words: str, folder: Path, size: tuple[int, int] = (100, 30), **variables: str) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.before = termios.tcgetattr(self.ours)
        self.written = b""
        environment = os.environ | {
            "PYTHONPATH": str(Path(afdctl.__file__).parents[1]),
            "TERM": "xterm-256color",
            "OMP_NUM_THREADS": "1",
            **variables,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "afdctl", *words],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        self.theirs = theirs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self.ours)
        os.close(self.theirs)

    def read(self, seconds: float) -> None:
        """Read the output of this period."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and select.select([self.ours], [], [], left)[0]:
            self.written += os.read(self.ours, 1 << 16)

    def wait_for(self, condition: bytes | Callable[[], Any], seconds: float = 60.0) -> None:
        """Wait until these bytes were written, or until a function returns true."""
        until = time.monotonic() + seconds
        while not (condition in self.written if isinstance(condition, bytes) else condition()):
            assert time.monotonic() < until, self.written[-3000:].decode(errors="replace")
            assert self.process.poll() is None or not isinstance(condition, bytes), self.written[-3000:]
            self.read(0.05)

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def end(self) -> tuple[int, str]:
        """Wait for the process; return its exit code and stdout."""
        until = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < until
            self.read(0.05)
        self.read(0.1)
        assert self.process.stdout
        return self.process.returncode, self.process.stdout.read().decode()

    def is_restored(self) -> bool:
        """Return whether the terminal is as it was before."""
        after = self.written[self.written.rindex(b"\x1b[?1049h") :]
        return all(code in after for code in RESTORE_CODES) and termios.tcgetattr(self.ours) == self.before
