"""Commands, run in the process of the tests."""

from tests.cli.conftest import afdctl, here

__all__ = ["afdctl", "here"]
