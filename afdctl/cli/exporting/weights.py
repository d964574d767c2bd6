"""`afdctl export --weights`: a run's network as a file of another library."""

from afdctl.cli.exporting.wanted import Wanted
from afdctl.errors import RecipeError


def export(wanted: Wanted, kind: str) -> None:
    """Write each run's network as `kind`, check it, and print the path."""
    raise RecipeError(f"--weights {kind}: no such format")
