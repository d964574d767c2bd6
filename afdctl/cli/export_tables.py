"""`afdctl export --table`: the paper's tables of these runs."""

import sys
from typing import TYPE_CHECKING

import typer

from afdctl.cli.export_output import ExportOptions, agree, put, records_of
from afdctl.errors import RecipeError
from afdctl.formatting import did_you_mean

if TYPE_CHECKING:
    from afdctl.export.tables.base import Table


def export(wanted: ExportOptions, name: str) -> None:
    """Build table `name` and write it to --out or print it, drawn on a terminal and as Markdown elsewhere."""
    from afdctl.export import tables
    from afdctl.export.tables import render

    name, kind = tables.check(name), _format(wanted)
    table = tables.build(name, records_of(wanted), wanted.paper)
    if kind is None and sys.stdout.isatty():
        draw(table)
        return
    kind = kind or "md"
    if kind in render.WITHOUT_NOTES:
        for line in render.below(table):
            typer.echo(line, err=True)
    put(wanted, render.FORMATS[kind](table), f"table-{name}{render.suffix(kind)}")


def check(name: str) -> None:
    """Raise RecipeError for an unknown table, before any run is read."""
    from afdctl.export import tables

    tables.check(name)


def _format(wanted: ExportOptions) -> str | None:
    """Format of --format, --json or the suffix of --out; None without any of them."""
    from afdctl.export.tables import render

    if wanted.format and wanted.json and wanted.format != "json":
        raise RecipeError(f"--format {wanted.format} and --json: give one of them")
    if wanted.json:
        agree(wanted, "--json", "json", render.SUFFIXES)
        return "json"
    if wanted.format is not None:
        if wanted.format not in render.FORMATS:
            known = list(render.FORMATS)
            raise RecipeError(f"--format {wanted.format}: no such format ({did_you_mean(wanted.format, known)})")
        agree(wanted, "--format", wanted.format, render.SUFFIXES)
        return wanted.format
    if wanted.out is None or wanted.in_folder:
        return None
    suffix = wanted.out.path.suffix.lower()
    if suffix not in render.SUFFIXES:
        suffixes = " ".join(render.SUFFIXES)
        raise RecipeError(f"--out {wanted.out}: no format has this suffix; use one of {suffixes}, or name --format")
    return render.SUFFIXES[suffix]


def draw(table: "Table") -> None:
    """Print the table on a terminal."""
    from rich import box
    from rich.table import Table as Drawn

    from afdctl.cli.evaluation_tables import TableConsole
    from afdctl.export.tables import render

    drawn = Drawn(title=render.heading(table), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for title, number in zip(render.headings(table), table.numeric, strict=True):
        drawn.add_column(title, justify="right" if number else "left", no_wrap=not number)
    for row in table.rows:
        drawn.add_row(*render.texts(table, row))
    console = TableConsole()
    console.print(drawn)
    for line in render.below(table):
        console.print(line, soft_wrap=True)
