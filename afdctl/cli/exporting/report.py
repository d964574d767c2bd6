"""`afdctl export --report`: a page about runs, for a browser and for paper."""

import json
from pathlib import Path

import typer

from afdctl.cli.exporting.wanted import Wanted
from afdctl.errors import RecipeError


def export(wanted: Wanted, choice: str) -> None:
    """Write the page, and print its path."""
    if wanted.out is not None:
        raise RecipeError("--report: names its own file; leave --out out")
    path = Path(choice)
    if path.is_dir() or not path.parent.is_dir():
        raise RecipeError(f"--report {choice}: must name a file in a folder that is there, such as report.html")

    from afdctl.export.report.page import build
    from afdctl.store import atomic

    atomic.write_bytes(path, build(wanted.runs).encode())
    typer.echo(json.dumps({"schema": "afdctl/1", "report": str(path)}) if wanted.json else path)
