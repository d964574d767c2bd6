"""`afdctl export`: write what runs hold as files for other programs and for people."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdctl.cli import export_files, export_modes, options, output_path
from afdctl.cli.export_modes import ExportOptions
from afdctl.cli.options import find_targets, run_names
from afdctl.errors import NotFoundError, RecipeError

if TYPE_CHECKING:
    from afdctl.runs.run import Run

TABLE = typer.Option(metavar="NAME", help="A table of the paper: 1, 2, A1, A3, A4, A5 or cost.", show_default=False)
FIGURE = typer.Option(
    metavar="NAME",
    help="A figure of the paper: 2, 3 or A1 to A8; or pca, units, sensitivity, norms, hdh, tsne or umap.",
    show_default=False,
)
WEIGHTS = typer.Option(
    metavar="FORMAT",
    help="The network as safetensors, onnx, pt2, torch or robustbench, checked against the run's logits.",
    show_default=False,
)
EVENTS = typer.Option(metavar="FORMAT", help="Steps, epochs and tests as csv, json or parquet.", show_default=False)
CELLS = typer.Option(
    metavar="FORMAT", help="Every attack at every epsilon as csv, json or parquet.", show_default=False
)
FORMAT = typer.Option(
    "--format",
    metavar="FORMAT",
    help="Format of --table: md, csv, json, latex or parquet; default: that of --out's suffix, or md.",
    show_default=False,
)
PAPER = typer.Option("--paper", help="With --table: add the published numbers and the differences from them.")
REPORT = typer.Option(
    metavar="FILE.html", help="One HTML page that compares the runs and works offline.", show_default=False
)
OUT = output_path.option("--out", help="The file to write, or its folder, such as exports/ (created if missing).")

# runs one mode with the value of its option
Mode = Callable[[ExportOptions, str], None]


def export(
    names: options.TargetNames = None,
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
    """Export what runs hold, in exactly one mode. Without RUN: the newest run, or all runs for --table and --figure."""
    mode, value = choose_mode(
        {
            "--table": (table, export_modes.export_table),
            "--figure": (figure, export_files.export_figure),
            "--weights": (weights, export_files.export_weights),
            "--report": (report, export_files.export_report),
            "--events": (events, export_modes.export_events),
            "--cells": (cells, export_modes.export_cells),
        }
    )
    if table is None and (kind or paper):
        hint = "; other modes name their format, or --out's suffix does" if kind else ""
        raise RecipeError(f"{'--format' if kind else '--paper'}: goes with --table{hint}")
    # a wrong name is reported before any run is read
    if table is not None:
        from afdctl.export.tables.base import check_name

        check_name(table)
    if figure is not None:
        from afdctl.export.figures.page import find

        find(figure)
    if (table or figure) and not names:
        runs = all_runs(folder)
    else:
        runs = distinct_runs(find_targets(run_names(names or []), folder, data_dir))
    mode(
        ExportOptions(
            runs=runs,
            named=bool(names),
            checkpoint=checkpoint,
            out=out,
            data_dir=data_dir,
            device=device,
            json=json,
            format=kind,
            paper=paper,
        ),
        value,
    )


def choose_mode(modes: Mapping[str, tuple[str | None, Mode]]) -> tuple[Mode, str]:
    """Return the one mode whose option has a value, and the value. Error: RecipeError for none or several."""
    given = {option: (mode, value) for option, (value, mode) in modes.items() if value is not None}
    if len(given) == 1:
        return next(iter(given.values()))
    if given:
        raise RecipeError(f"{' and '.join(given)}: one mode at a time; run the command once for each")
    raise RecipeError(f"export what? give one of {', '.join(modes)}")


def all_runs(folder: Path) -> "list[Run]":
    """List all runs of a folder. Error: NotFoundError for none."""
    from afdctl.runs.run import Run

    runs = Run.all(folder)
    if not runs:
        raise NotFoundError(f"{folder}: no run here; name the folder with --runs")
    typer.echo(f"no run named: using all {len(runs)} under {folder}", err=True)
    return runs


def distinct_runs(runs: "Iterable[Run]") -> "list[Run]":
    """Keep each run once: named twice, it would count as two."""
    return list({run.path.resolve(): run for run in runs}.values())
