"""Whether there is a terminal for the dashboard: it draws on stderr and reads stdin, so stdout may be a pipe."""

import os
import sys


def interactive() -> bool:
    """Whether a person can see and steer a dashboard."""
    seen = sys.stdin.isatty() and sys.stderr.isatty()
    return seen and os.environ.get("TERM") != "dumb" and _in_front()


def _in_front() -> bool:
    """Whether the terminal is ours: a job in the background would be stopped as soon as it reads a key."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        # a terminal that controls nothing, such as a test's
        return True


def served() -> bool:
    """Whether this process draws for a browser."""
    return "TEXTUAL_DRIVER" in os.environ
