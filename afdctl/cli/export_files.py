"""The modes of `afdctl export` that always write files: figures, the report, weights."""

import json
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl import registry
from afdctl.cli.export_modes import ExportOptions, check_suffix, load_records
from afdctl.cli.output_path import OutputPath
from afdctl.cli.process import exit_on_interrupt
from afdctl.errors import AfdctlError, NotFoundError, RecipeError
from afdctl.formatting import did_you_mean

if TYPE_CHECKING:
    from afdctl.export.figures.page import FigureSpec
    from afdctl.export.weights.format import Files, WeightFormat
    from afdctl.runs.record import Record
    from afdctl.runs.run import Run


def export_figure(options: ExportOptions, figure: str) -> None:
    """Draw the figure of the named runs, by default those of the paper's figure, and print the file's path."""
    from afdctl.export.figures.page import FIGURES, find, format_of, save

    name = find(figure)
    spec = FIGURES[name]
    default_name = f"figure-{name}.pdf"
    # before anything is drawn
    options.destination.check()
    format_of(Path(default_name) if options.in_folder else options.destination.path)
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
