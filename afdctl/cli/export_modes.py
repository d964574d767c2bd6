"""The modes of `afdctl export` that read the records of runs: tables, events, cells, figures, the report."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from afdctl.cli.output_path import ExportOptions, OutputPath, check_suffix, write_output
from afdctl.errors import AfdctlError, NotFoundError, RecipeError
from afdctl.formatting import did_you_mean

if TYPE_CHECKING:
    from afdctl.export.figures.page import FigureSpec
    from afdctl.export.tables.base import Table
    from afdctl.runs.record import Record


def load_records(options: ExportOptions) -> "list[Record]":
    """Read the runs and warn of lost journal rows.

    Where no run was named, unreadable ones are left out with a warning.
    """
    from afdctl.runs.record import Record

    records = []
    for run in options.runs:
        try:
            records.append(Record.of(run, options.checkpoint))
        except (AfdctlError, OSError) as error:
            # one damaged run must not prevent a table of all, but a run that is named is wanted
            if options.named:
                raise
            typer.echo(f"warning: {run.name} left out: {error}", err=True)
    if not records:
        raise NotFoundError("no run here can be read; name another folder with --runs")
    if not any(map(_has_checkpoint, records)):
        raise NotFoundError(
            f"--checkpoint {options.checkpoint}: no run here was attacked or analysed on it; name best, last, or a "
            "file that `afdctl runs show` lists"
        )
    for record in records:
        for gap in record.lost:
            typer.echo(f"warning: {gap}", err=True)
    return records


def _has_checkpoint(record: "Record") -> bool:
    """Return whether a checkpoint is `best`, `last`, or a file whose results the run has."""
    from afdctl.runs.checkpoints import POINTERS

    digests = {row["checkpoint"] for event in ("cell", "analysis") for row in record.of_kind(event)}
    return record.checkpoint in POINTERS or any(digest[:16] in record.checkpoint for digest in digests)


def export_table(options: ExportOptions, name: str) -> None:
    """Build a table and write it to --out, draw it on a terminal, or print it as Markdown elsewhere."""
    from afdctl.export.tables import render
    from afdctl.export.tables.base import build_table, check_name

    name, kind = check_name(name), _table_format(options)
    table = build_table(name, load_records(options), options.paper)
    # a reader at a terminal wants columns; in a pipe, Markdown is what a document needs
    if kind is None and sys.stdout.isatty():
        draw(table)
        return
    kind = kind or "md"
    # these formats have rows only, and the notes must not get lost
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

    _export_rows(options, kind, "events", raw.Events, "its training has not started, or it was trained elsewhere")


def export_cells(options: ExportOptions, kind: str) -> None:
    """Write the cells that sweeps of the runs measured."""
    from afdctl.export import raw

    _export_rows(options, kind, "cells", raw.cells, "not attacked yet; run `afdctl sweep RUN`")


def _export_rows(
    options: ExportOptions,
    kind: str,
    name: str,
    list_rows: "Callable[[list[Record]], Iterable[dict[str, Any]]]",
    reason_for_none: str,
) -> None:
    from afdctl.export import raw
    from afdctl.export.tables.render import SUFFIXES

    if kind not in raw.FORMATS:
        raise RecipeError(f"--{name} {kind}: no such format ({did_you_mean(kind, raw.FORMATS)})")
    check_suffix(options, f"--{name}", kind, SUFFIXES)
    rows = list_rows(load_records(options))
    # an empty file would look like a success to a script
    if next(iter(rows), None) is None:
        run_names = ", ".join(run.name for run in options.runs)
        raise NotFoundError(f"--{name}: {run_names} has none: {reason_for_none}")
    write_output(options, raw.FORMATS[kind](rows), f"{name}.{kind}")


def export_figure(options: ExportOptions, figure: str) -> None:
    """Draw the figure of the named runs, by default those of the paper's figure, and print the file's path."""
    from afdctl.export.figures.page import FIGURES, find, format_of, save

    name = find(figure)
    spec = FIGURES[name]
    default_name = f"figure-{name}.pdf"
    # before anything is drawn
    options.destination.check()
    format_of(Path(default_name) if options.in_folder else options.destination.path)
    # without a name, only the runs that the paper's figure would show
    records = [record for record in load_records(options) if options.named or spec.shows(record)]
    if not records:
        raise NotFoundError(f"--figure {name}: no run here is {_default_runs(spec)}, as the figure is; name other runs")
    page = spec.build(records)
    warnings = [f"{record.name}: {line}" for record in records for line in record.shown_warnings]
    for line in filter(None, [_other_datasets(name, spec, records), spec.hint(records), *warnings]):
        typer.echo(f"warning: {line}", err=True)
    path = options.output_file(default_name)
    save(page, path)
    result = {"schema": "afdctl/1", "figure": name, "path": str(path), "title": page.title, "runs": page.runs}
    typer.echo(json.dumps(result) if options.json else path)


def _other_datasets(name: str, spec: "FigureSpec", records: "list[Record]") -> str:
    """Warn of runs whose data set is not in the paper's figure; empty for none."""
    from afdctl.export.groups import dataset_titles

    others = dataset_titles(record.dataset for record in records if not spec.has_dataset(record))
    if not others:
        return ""
    return f"the paper's figure {name} is of {dataset_titles(spec.datasets)}; drawn with runs of {others}"


def _default_runs(spec: "FigureSpec") -> str:
    """Describe the runs that a figure takes by default: `of MNIST`, `of CIFAR-10 by AFD-DCGAN, AFD-WGAN`."""
    from afdctl.export.groups import dataset_titles

    return f"of {dataset_titles(spec.datasets)}" + (f" by {', '.join(spec.methods)}" if spec.methods else "")


def export_report(options: ExportOptions, path_text: str) -> None:
    """Write the report's page, and print its path."""
    if options.out is not None:
        raise RecipeError("--report: names its own file; leave --out out")
    destination = OutputPath.of(path_text, "--report")
    if not destination.is_folder and destination.path.suffix.lower() not in (".html", ".htm"):
        raise RecipeError(f"--report {destination}: is an HTML page; give it the suffix .html, or name a folder")
    destination.check()

    from afdctl.export.report.page import build
    from afdctl.runs import files

    page = build(load_records(options))
    path = destination.file(f"{options.prefix}report.html")
    files.write_text(path, page)
    typer.echo(json.dumps({"schema": "afdctl/1", "report": str(path)}) if options.json else path)
