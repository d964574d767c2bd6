"""The terminal that the dashboard draws on is that of stderr: stdout may be a pipe to another command."""

import os
import sys

from textual.drivers.linux_driver import LinuxDriver


class StderrDriver(LinuxDriver):
    """The library's driver, which asks stdout for the size of the terminal."""

    def _get_terminal_size(self) -> tuple[int, int]:
        for stream in (sys.__stderr__, sys.__stdin__):
            try:
                if stream:
                    size = os.get_terminal_size(stream.fileno())
                    if size.columns and size.lines:
                        return size.columns, size.lines
            except (OSError, ValueError):
                continue
        return super()._get_terminal_size()
