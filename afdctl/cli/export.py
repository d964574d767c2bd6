"""`afdctl export`: what runs hold, as files for other programs and for people."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdctl.cli import export_figures as figures_mode
from afdctl.cli import export_figures as report_mode
from afdctl.cli import export_raw as raw_modes
from afdctl.cli import export_tables as tables_mode
from afdctl.cli import export_weights as weights_mode
from afdctl.cli import options, output_path
from afdctl.cli.arguments import find_run, run_names
from afdctl.cli.export_output import ExportOptions
from afdctl.errors import NotFoundError, RecipeError

if TYPE_CHECKING:
    from afdctl.runs.run import Run

WEIGHTS = typer.Option(
    metavar="FORMAT",
    help="The network itself: safetensors, onnx, pt2, torch or robustbench; checked against the run's.",
    show_default=False,
)
TABLE = typer.Option(metavar="NAME", help="A table of the paper: 1, 2, A1, A3, A4, A5 or cost.", show_default=False)
FIGURE = typer.Option(
    metavar="NAME",
    help="A figure of the paper: 2, 3 or A1 to A8; or pca, units, sensitivity, norms, hdh, tsne or umap.",
    show_default=False,
)
EVENTS = typer.Option(metavar="FORMAT", help="Steps, epochs and tests: csv, json or parquet.", show_default=False)
CELLS = typer.Option(metavar="FORMAT", help="Every attack at every epsilon: csv, json or parquet.", show_default=False)
FORMAT = typer.Option(
    "--format",
    metavar="FORMAT",
    help="Of --table: md, csv, json, latex or parquet; by default that of --out's suffix, or md.",
    show_default=False,
)
PAPER = typer.Option("--paper", help="With --table: the published figures and the differences beside.")
REPORT = typer.Option(
    metavar="FILE.html", help="A page about the runs, side by side: needs no network.", show_default=False
)
OUT = output_path.option("--out", help="The file to write, or the folder for it, such as exports/ (made if missing).")

Mode = Callable[[ExportOptions, str], None]
"""Does the work of one mode with the value of its option."""


def export(
    names: options.RunNames = None,
    table: Annotated[str | None, TABLE] = None,
    figure: Annotated[str | None, FIGURE] = None,
    weights: Annotated[str | None, WEIGHTS] = None,
    events: Annotated[str | None, EVENTS] = None,
    cells: Annotated[str | None, CELLS] = None,
    kind: Annotated[str | None, FORMAT] = None,
    paper: Annotated[bool, PAPER] = False,
    report: Annotated[str | None, REPORT] = None,
    out: Annotated[output_path.OutputPath | None, OUT] = None,
    checkpoint: options.Checkpoint = "best",
    folder: options.Runs = Path("runs"),
    device: options.Device = "auto",
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Export what runs hold; exactly one mode says what. Without RUN: the newest one; for --table and --figure all."""
    mode, choice = only(
        {
            "--table": (table, tables_mode.export),
            "--figure": (figure, figures_mode.export),
            "--weights": (weights, weights_mode.export),
            "--report": (report, report_mode.export_report),
            "--events": (events, raw_modes.export_events),
            "--cells": (cells, raw_modes.export_cells),
        }
    )
    if table is None and (kind or paper):
        hint = "; elsewhere the mode names the format, or --out's suffix does" if kind else ""
        raise RecipeError(f"{'--format' if kind else '--paper'}: goes with --table{hint}")
    if table is not None:
        tables_mode.check(table)
    if figure is not None:
        figures_mode.check(figure)
    runs = (
        every(folder)
        if (table or figure) and not names
        else distinct(find_run(spec, folder) for spec in run_names(names or []))
    )
    wanted = ExportOptions(
        runs=runs,
        named=bool(names),
        checkpoint=checkpoint,
        out=out,
        data_dir=data_dir,
        device=device,
        json=json,
        format=kind,
        paper=paper,
    )
    mode(wanted, choice)


def every(folder: Path) -> "list[Run]":
    """All runs of a folder: of the newest alone, a table would have one row. Error: NotFoundError for none."""
    from afdctl.runs.run import Run

    runs = Run.all(folder)
    if not runs:
        raise NotFoundError(f"{folder}: no run here; name the folder with --runs")
    typer.echo(f"no run named: looking at all {len(runs)} under {folder}", err=True)
    return runs


def distinct(runs: "Iterable[Run]") -> "list[Run]":
    """Each run once: named twice, it would count as two."""
    return list({run.path.resolve(): run for run in runs}.values())


def only(modes: Mapping[str, tuple[str | None, Mode]]) -> tuple[Mode, str]:
    """The one mode that has a choice, and the choice; RecipeError unless it is exactly one."""
    given = {option: (mode, choice) for option, (choice, mode) in modes.items() if choice is not None}
    if len(given) == 1:
        return next(iter(given.values()))
    if given:
        raise RecipeError(f"{' and '.join(given)}: one mode at a time; run the command once for each")
    raise RecipeError(f"export what? give one of {', '.join(modes)}")
