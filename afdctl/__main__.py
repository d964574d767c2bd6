"""`python -m afdctl` is the same as `afdctl`."""

import signal


def main() -> None:
    """Import the command line, during which Ctrl-C leaves no traceback, and run it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from afdctl.cli import main as run

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
