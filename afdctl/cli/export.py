"""`afdctl export`: write what runs hold as files for other programs and for people.

The networks' weights are written here, all else by `cli.export_modes`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdctl import registry
from afdctl.cli import export_modes, export_trackers, options, output_path
from afdctl.cli.options import distinct_runs, run_names
from afdctl.cli.output_path import ExportOptions, check_suffix
from afdctl.cli.process import exit_on_interrupt
from afdctl.cli.targets import find_targets
from afdctl.errors import AfdctlError, NotFoundError, RecipeError
from afdctl.formatting import did_you_mean

if TYPE_CHECKING:
    from afdctl.export.weights.format import Files, WeightFormat
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
TO = typer.Option(
    "--to",
    metavar="TOOL",
    help="Curves and results for tensorboard, wandb, trackio or mlflow, in the folder --out; offline unless the "
    "tool's environment variables name a server.",
    show_default=False,
)
FOLLOW = typer.Option("--follow", help="With --to: continue until the run's training or sweep ends.")
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
    to: Annotated[str | None, TO] = None,
    follow: Annotated[bool, FOLLOW] = False,
    out: Annotated[output_path.OutputPath | None, OUT] = None,
    checkpoint: options.Checkpoint = "best",
    folder: options.Runs = Path("runs"),
    device: options.Device = "auto",
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Export what runs hold, in exactly one mode. Without RUN: the newest run, or all runs for --table and --figure."""
    mode, value = choose_mode(
        {
            "--table": (table, export_modes.export_table),
            "--figure": (figure, export_modes.export_figure),
            "--weights": (weights, export_weights),
            "--report": (report, export_modes.export_report),
            "--events": (events, export_modes.export_events),
            "--cells": (cells, export_modes.export_cells),
            "--to": (to, export_trackers.export_to),
        }
    )
    if follow and to is None:
        raise RecipeError("--follow: goes with --to")
    if table is None and (kind or paper):
        hint = "; other modes name their format, or --out's suffix does" if kind else ""
        raise RecipeError(f"{'--format' if kind else '--paper'}: goes with --table{hint}")
    # a wrong name is reported before any run is read
    if to is not None:
        export_trackers.check_tool(to)
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
            json=as_json,
            format=kind,
            paper=paper,
            follow=follow,
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


def export_weights(options: ExportOptions, kind: str) -> None:
    """Write each run's network as `kind` once it is checked, and print the paths."""
    _check_weight_options(options, kind)
    weight_format = _weight_format(kind)
    for run in options.runs:
        _export_network(options, kind, weight_format, run)


def _check_weight_options(options: ExportOptions, kind: str) -> None:
    """Raise RecipeError for every mistake that can be found without importing torch."""
    from afdctl.export.weights import FORMATS, SUFFIXES

    if kind not in FORMATS:
        raise RecipeError(f"--weights {kind}: no such format ({did_you_mean(kind, FORMATS)})")
    # logits are compared with those of the format's own runtime, on the CPU
    if options.device not in ("auto", "cpu"):
        raise RecipeError(f"--device {options.device}: weights are written and checked on the CPU; leave --device out")
    if options.out is None:
        return
    # several files need a folder, whether its name ends with a slash or not
    (replace(options.out, slash=True) if kind == "robustbench" else options.out).check()
    if options.in_folder or kind == "robustbench":
        return
    check_suffix(options, "--weights", kind, SUFFIXES)
    if len(options.runs) > 1:
        raise RecipeError(f"--out {options.out}: one file for {len(options.runs)} runs; name a folder, such as files/")


def _weight_format(kind: str) -> "WeightFormat":
    """Load the format. Error: AfdctlError with the extra to install where its library is missing."""
    from afdctl.export.weights import FORMATS

    weight_format: WeightFormat = registry.load(FORMATS, kind)
    # find_spec does not import them, which would take seconds
    if missing := [module for module in weight_format.needs if find_spec(module) is None]:
        raise AfdctlError(
            f"--weights {kind} needs {' and '.join(missing)}; "
            f"install with `pip install 'afdctl[{weight_format.extra}]'`"
        )
    return weight_format


def _export_network(options: ExportOptions, kind: str, weight_format: "WeightFormat", run: "Run") -> None:
    with exit_on_interrupt():
        import torch

        from afdctl.evaluation.target import load_run_target
        from afdctl.export.weights.format import check_round_trip, exported_model

    target = load_run_target(run, options.checkpoint, torch.device("cpu"), options.data_dir)
    model = exported_model(target)
    files = weight_format.pack(model)
    # before anything is written: a file that gives other logits is never seen
    check = check_round_trip(model, weight_format, files)
    paths = [str(path) for path in _write_weights(options, files)]
    for warning in target.warnings:
        typer.echo(f"warning: {target.name}: {warning}", err=True)
    typer.echo(
        f"{run.name}: read back, the logits of {check.n} test images differ by at most {check.max_difference:.2g} "
        f"(rounding allows {check.tolerance:.2g}), {check.differing} predictions differ",
        err=True,
    )
    if options.json:
        head = {"schema": "afdctl/1", "run": run.name, "checkpoint": target.digest, "file": paths[0], "files": paths}
        typer.echo(json.dumps(head | {"format": kind} | asdict(check) | {"metadata": model.metadata}))
    else:
        typer.echo("\n".join(paths))


def _write_weights(options: ExportOptions, files: "Files") -> list[Path]:
    """Write a single file where --out says, several into the folder that it names."""
    from afdctl.runs.files import write_bytes

    # the name of a single file already contains the run's
    output_path = options.destination.file if len(files) == 1 else options.destination.within
    paths = [output_path(name) for name in files]
    for path, data in zip(paths, files.values(), strict=True):
        write_bytes(path, data)
    return paths
