"""Memory that is freed stays with the process."""

import ctypes
import platform
from typing import Final

TRIM_THRESHOLD: Final = -1, 1 << 30
MMAP_THRESHOLD: Final = -3, 32 << 20
"""Settings of mallopt(3), and bytes: the second is the most that glibc takes."""


def keep() -> None:
    """Let malloc reuse large blocks instead of giving them back to the system; nothing where it is not glibc's.

    A step frees the same blocks each time, and getting them back costs a page fault for every 4 KiB.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for setting in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            mallopt(*setting)
