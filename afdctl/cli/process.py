"""Settings of the process that must come before torch: memory, threads, and Ctrl-C during slow imports."""

import ctypes
import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

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
