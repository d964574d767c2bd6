"""What the words of a command line name: runs, their data sets, attacks, numbers."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from afdctl.errors import NotFoundError, RecipeError
from afdctl.formatting import shorten

if TYPE_CHECKING:
    from afdctl.runs.run import Run


def run_names(runs: Sequence[str]) -> list[str]:
    """What was named; `-` stands for the lines of stdin, and nothing for the newest run."""
    named: list[str] = []
    for spec in runs or ["latest"]:
        named += lines_of_stdin() if spec == "-" else [spec]
    return named


def lines_of_stdin() -> list[str]:
    if sys.stdin.isatty():
        raise RecipeError("-: reads the runs' paths from stdin, and stdin is a terminal; pipe them in")
    lines = [line.strip() for line in sys.stdin if line.strip()]
    if not lines:
        raise NotFoundError("-: no run's path came in on stdin")
    return lines


def find_runs(spec: str, folder: Path) -> "Run":
    from afdctl.runs.run import Run

    return Run.find(spec, folder)


def dataset_of(run: "Run") -> str:
    """The data set of a trained run, or of a model of one's own."""
    from afdctl import recipe

    if run.kind == "external":
        return str(run.provenance["dataset"])
    return recipe.loads(run.recipe_text).data.dataset


def names_of(text: str | None) -> list[str]:
    """`pgd_linf,aa` as a list."""
    if text is None:
        return []
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise RecipeError(f"--attacks '{shorten(text)}': must be names with commas between, such as pgd_linf,aa")
    return names


def numbers(text: str | None, option: str) -> list[float] | None:
    """`0.49,0.48,0.45` as a list."""
    if text is None:
        return None

    from afdctl.recipe.fields import parse_decimal

    try:
        return [parse_decimal(part) for part in text.split(",")]
    except ValueError:
        raise RecipeError(
            f"{option} '{shorten(text)}': must be numbers with commas between, such as 0.49,0.48,0.45"
        ) from None
