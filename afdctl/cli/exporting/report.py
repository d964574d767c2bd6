"""`afdctl export --report`: a page about runs, for a browser and for paper."""

import json

import typer

from afdctl.cli.exporting.wanted import Wanted, records_of
from afdctl.cli.place import Place
from afdctl.errors import RecipeError


def export(wanted: Wanted, choice: str) -> None:
    """Write the page, and print its path."""
    if wanted.out is not None:
        raise RecipeError("--report: names its own file; leave --out out")
    place = Place.of(choice, "--report")
    if not place.is_folder and place.path.suffix.lower() not in (".html", ".htm"):
        raise RecipeError(f"--report {place}: is an HTML page; give it the suffix .html, or name a folder")
    place.check()

    from afdctl.export.report.page import build
    from afdctl.store import atomic

    page = build(records_of(wanted))
    path = place.file(f"{wanted.prefix}report.html")
    atomic.write_text(path, page)
    typer.echo(json.dumps({"schema": "afdctl/1", "report": str(path)}) if wanted.json else path)
