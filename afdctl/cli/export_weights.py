"""`afdctl export --weights`: a run's network as a file of another library."""

import json
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl import registry
from afdctl.cli.export_output import ExportOptions, agree
from afdctl.cli.imports import leaving_at_once
from afdctl.errors import AfdctlError, RecipeError
from afdctl.formatting import did_you_mean

if TYPE_CHECKING:
    from afdctl.export.weights.format import Files, WeightFormat
    from afdctl.runs.run import Run


def export(wanted: ExportOptions, kind: str) -> None:
    """Write each run's network as `kind` once it is checked, and print the path."""
    _refuse(wanted, kind)
    form = _format(kind)
    for run in wanted.runs:
        _export(wanted, kind, form, run)


def _export(wanted: ExportOptions, kind: str, form: "WeightFormat", run: "Run") -> None:
    with leaving_at_once():
        import torch

        from afdctl.evaluation.target import load_run_target
        from afdctl.export.weights import check

    subject = load_run_target(run, wanted.checkpoint, torch.device("cpu"), wanted.data_dir)
    what = check.exported(subject)
    files = form.pack(what)
    found = check.checked(what, form, files)
    paths = [str(path) for path in _write(wanted, files)]
    for warning in subject.warnings:
        typer.echo(f"warning: {subject.name}: {warning}", err=True)
    typer.echo(
        f"{run.name}: read back, the logits of {found.n} test images differ by at most {found.max_difference:.2g} "
        f"(rounding allows {found.tolerance:.2g}), {found.differing} predictions differ",
        err=True,
    )
    if wanted.json:
        head = {"schema": "afdctl/1", "run": run.name, "checkpoint": subject.digest, "file": paths[0], "files": paths}
        typer.echo(json.dumps(head | {"format": kind} | asdict(found) | {"metadata": what.about}))
    else:
        typer.echo("\n".join(paths))


def _write(wanted: ExportOptions, files: "Files") -> list[Path]:
    """Put a single file where --out says, several into the folder that it names."""
    from afdctl.runs.files import write_bytes

    # the name of a single file has the run's in it
    place = wanted.place.file if len(files) == 1 else wanted.place.within
    paths = [place(name) for name in files]
    for path, data in zip(paths, files.values(), strict=True):
        write_bytes(path, data)
    return paths


def _refuse(wanted: ExportOptions, kind: str) -> None:
    """What can be seen to be wrong before torch is imported."""
    from afdctl.export.weights import FORMATS, SUFFIXES

    if kind not in FORMATS:
        raise RecipeError(f"--weights {kind}: no such format ({did_you_mean(kind, FORMATS)})")
    if wanted.device not in ("auto", "cpu"):
        raise RecipeError(f"--device {wanted.device}: weights are written and checked on the CPU; leave --device out")
    if wanted.out is None:
        return
    # several files need a folder, whether its name ends with a slash or not
    (replace(wanted.out, slash=True) if kind == "robustbench" else wanted.out).check()
    if wanted.in_folder or kind == "robustbench":
        return
    agree(wanted, "--weights", kind, SUFFIXES)
    if len(wanted.runs) > 1:
        raise RecipeError(f"--out {wanted.out}: one file for {len(wanted.runs)} runs; name a folder, such as files/")


def _format(kind: str) -> "WeightFormat":
    """The format; AfdctlError names the extra to install where its library is missing."""
    from afdctl.export.weights import FORMATS

    form: WeightFormat = registry.load(FORMATS, kind)
    if missing := [module for module in form.needs if find_spec(module) is None]:
        raise AfdctlError(
            f"--weights {kind} needs {' and '.join(missing)}; install with `pip install 'afdctl[{form.extra}]'`"
        )
    return form
