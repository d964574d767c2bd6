"""Options and output shared by all modes of `afdctl export`, and the modes that print rows: tables, events, cells."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from afdctl.cli.output_path import OutputPath, runs_in_words
from afdctl.errors import AfdctlError, NotFoundError, RecipeError
from afdctl.formatting import did_you_mean

if TYPE_CHECKING:
    from afdctl.export.tables.base import Table
    from afdctl.runs.record import Record
    from afdctl.runs.run import Run


@dataclass(frozen=True)
class ExportOptions:
    """Options that all modes share; `runs` has at least one run.

    `named` is False where no run was named, so that `runs` are all runs or the newest.
    """

    runs: list["Run"]
    named: bool
    checkpoint: str
    out: OutputPath | None
    data_dir: Path | None
    device: str
    json: bool
    format: str | None = None
    paper: bool = False

    @property
    def destination(self) -> OutputPath:
        """--out, or the current folder."""
        return self.out or OutputPath(Path())

    @property
    def in_folder(self) -> bool:
        """Whether the file gets its default name."""
        return self.out is None or self.out.is_folder

    @property
    def prefix(self) -> str:
        """Start of a default file name: the runs' names, or nothing where all runs are exported."""
        return f"{runs_in_words([run.name for run in self.runs])}-" if self.named or len(self.runs) == 1 else ""

    def output_file(self, name: str) -> Path:
        """Return --out itself, or in a folder the default `name` after the runs' names.

        Follows a link, as a copy would. Error: RecipeError where no file can be written.
        """
        return self.destination.file(f"{self.prefix}{name}")


def load_records(options: ExportOptions) -> "list[Record]":
    """Read the runs and warn of lost journal rows.

    Where no run was named, unreadable ones are left out with a warning.
    """
    from afdctl.runs.record import Record

    records = []
    for run in options.runs:
        try:
            records.append(Record.of(run))
        except (AfdctlError, OSError) as error:
            if options.named:
                raise
            typer.echo(f"warning: {run.name} left out: {error}", err=True)
    if not records:
        raise NotFoundError("no run here can be read; name another folder with --runs")
    for record in records:
        for gap in record.lost:
            typer.echo(f"warning: {gap}", err=True)
    return records


def check_suffix(options: ExportOptions, option: str, kind: str, suffixes: Mapping[str, str]) -> None:
    """Raise RecipeError where an option and the suffix of --out name different formats."""
    if options.out is None or options.in_folder:
        return
    named = suffixes.get(options.out.path.suffix.lower(), kind)
    if named != kind:
        raise RecipeError(f"--out {options.out}: its suffix is that of {named}, but {option} says {kind}; change one")


def write_output(options: ExportOptions, content: str | bytes, name: str) -> None:
    """Write the content to --out atomically and print the path, or write it to stdout.

    `name` is the default file name in a folder. Error: RecipeError for bytes to a terminal.
    """
    if options.out is not None:
        from afdctl.runs import files

        path = options.output_file(name)
        if isinstance(content, str):
            files.write_text(path, content)
        else:
            files.write_bytes(path, content)
        typer.echo(path)
    elif isinstance(content, str):
        typer.echo(content, nl=False)
    elif sys.stdout.isatty():
        raise RecipeError("parquet is not for a terminal; name a file with --out")
    else:
        sys.stdout.buffer.write(content)


def export_table(options: ExportOptions, name: str) -> None:
    """Build a table and write it to --out, draw it on a terminal, or print it as Markdown elsewhere."""
    from afdctl.export.tables import render
    from afdctl.export.tables.base import build_table, check_name

    name, kind = check_name(name), _table_format(options)
    table = build_table(name, load_records(options), options.paper)
    if kind is None and sys.stdout.isatty():
        draw(table)
        return
    kind = kind or "md"
    if kind in render.WITHOUT_NOTES:
        for line in render.below(table):
            typer.echo(line, err=True)
    write_output(options, render.FORMATS[kind](table), f"table-{name}{render.suffix(kind)}")


def _table_format(options: ExportOptions) -> str | None:
    """Return the format of --format, --json or the suffix of --out; None without any of them."""
    from afdctl.export.tables import render

    if options.format and options.json and options.format != "json":
        raise RecipeError(f"--format {options.format} and --json: give one of them")
    if options.json:
        check_suffix(options, "--json", "json", render.SUFFIXES)
        return "json"
    if options.format is not None:
        if options.format not in render.FORMATS:
            known = list(render.FORMATS)
            raise RecipeError(f"--format {options.format}: no such format ({did_you_mean(options.format, known)})")
        check_suffix(options, "--format", options.format, render.SUFFIXES)
        return options.format
    if options.out is None or options.in_folder:
        return None
    suffix = options.out.path.suffix.lower()
    if suffix not in render.SUFFIXES:
        suffixes = " ".join(render.SUFFIXES)
        raise RecipeError(f"--out {options.out}: no format has this suffix; use one of {suffixes}, or name --format")
    return render.SUFFIXES[suffix]


def draw(table: "Table") -> None:
    """Draw the table on a terminal."""
    from rich import box
    from rich.table import Table as RichTable

    from afdctl.cli.console import TableConsole
    from afdctl.export.tables import render

    rich_table = RichTable(title=render.heading(table), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for title, is_number in zip(render.headings(table), table.numeric, strict=True):
        rich_table.add_column(title, justify="right" if is_number else "left", no_wrap=not is_number)
    for row in table.rows:
        rich_table.add_row(*render.texts(table, row))
    console = TableConsole()
    console.print(rich_table)
    for line in render.below(table):
        console.print(line, soft_wrap=True)


def export_events(options: ExportOptions, kind: str) -> None:
    """Write the steps, epochs and tests of the runs."""
    from afdctl.export import raw

    _export_rows(options, kind, "events", raw.events, "its training has not started, or it was trained elsewhere")


def export_cells(options: ExportOptions, kind: str) -> None:
    """Write the cells that sweeps of the runs measured."""
    from afdctl.export import raw

    _export_rows(options, kind, "cells", raw.cells, "not attacked yet; run `afdctl sweep RUN`")


def _export_rows(
    options: ExportOptions,
    kind: str,
    name: str,
    list_rows: "Callable[[list[Record]], list[dict[str, Any]]]",
    reason_for_none: str,
) -> None:
    from afdctl.export import raw
    from afdctl.export.tables.render import SUFFIXES

    if kind not in raw.FORMATS:
        raise RecipeError(f"--{name} {kind}: no such format ({did_you_mean(kind, raw.FORMATS)})")
    check_suffix(options, f"--{name}", kind, SUFFIXES)
    rows = list_rows(load_records(options))
    if not rows:
        run_names = ", ".join(run.name for run in options.runs)
        raise NotFoundError(f"--{name}: {run_names} has none: {reason_for_none}")
    write_output(options, raw.FORMATS[kind](rows), f"{name}.{kind}")
