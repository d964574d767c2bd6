"""`python -m afdctl` is the same as `afdctl`."""

from afdctl.cli import main

if __name__ == "__main__":
    main()
