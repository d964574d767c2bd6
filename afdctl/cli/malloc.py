"""Memory that is freed stays with the process."""

import ctypes
import os
import platform
from typing import Final

SETTINGS: Final = {"TRIM_THRESHOLD": (-1, 1 << 30), "MMAP_THRESHOLD": (-3, 32 << 20)}
"""Numbers of mallopt(3), and bytes: the second is the most that glibc takes."""


def keep_freed_memory() -> None:
    """Let malloc reuse large blocks instead of giving them back to the system; nothing where it is not glibc's.

    A step frees the same blocks each time, and getting them back costs a page fault for every 4 KiB. What a user set in
    the environment is left alone.
    """
    if platform.libc_ver()[0] != "glibc" or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    for name, setting in SETTINGS.items():
        if f"MALLOC_{name}_" not in os.environ:
            ctypes.CDLL(None).mallopt(*setting)
