"""A user's code by name, `path/to/file.py:Name` or `package.module:Name`: execute, record, and explain its errors."""

from collections.abc import Callable
from typing import Final

# called with the path or module of code before it is executed; the command line prints it
announcers: Final[list[Callable[[str], None]]] = []
