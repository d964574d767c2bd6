"""The command line, for tests that compare it with the functions."""

from tests.cli.conftest import afdctl as shell  # noqa: F401
from tests.cli.conftest import folder  # noqa: F401
