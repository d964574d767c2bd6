"""Commands, run in the process of the tests."""

from tests.cli.conftest import afdctl, folder, here

__all__ = ["afdctl", "folder", "here"]
