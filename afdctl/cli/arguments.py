"""Parse what the words of a command line name: runs, their data sets, attacks, numbers."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from afdctl.errors import NotFoundError, RecipeError
from afdctl.formatting import shorten

if TYPE_CHECKING:
    from afdctl.runs.run import Run


def run_names(names: Sequence[str]) -> list[str]:
    """Expand `-` to the lines of stdin, and no name to the newest run."""
    expanded: list[str] = []
    for name in names or ["latest"]:
        expanded += read_stdin_lines() if name == "-" else [name]
    return expanded


def read_stdin_lines() -> list[str]:
    if sys.stdin.isatty():
        raise RecipeError("-: reads the runs' paths from stdin, and stdin is a terminal; pipe them in")
    lines = [line.strip() for line in sys.stdin if line.strip()]
    if not lines:
        raise NotFoundError("-: stdin has no run's path")
    return lines


def find_run(name: str, folder: Path) -> "Run":
    """Find a run by path or name, or the newest one (`latest`) of a folder."""
    from afdctl.runs.run import Run

    return Run.find(name, folder)


def dataset_name(run: "Run") -> str:
    """Return the data set of a trained run or of a custom model."""
    from afdctl import recipe

    if run.kind == "external":
        return str(run.provenance["dataset"])
    return recipe.loads(run.recipe_text).data.dataset


def split_names(text: str | None) -> list[str]:
    """Split `pgd_linf,aa` into names."""
    if text is None:
        return []
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise RecipeError(f"--attacks '{shorten(text)}': must be names with commas between, such as pgd_linf,aa")
    return names


def parse_numbers(text: str | None, option: str) -> list[float] | None:
    """Parse `0.49,0.48,0.45`."""
    if text is None:
        return None

    from afdctl.recipe.fields import parse_decimal

    try:
        return [parse_decimal(part) for part in text.split(",")]
    except ValueError:
        raise RecipeError(
            f"{option} '{shorten(text)}': must be numbers with commas between, such as 0.49,0.48,0.45"
        ) from None
