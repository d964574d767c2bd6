"""`afdctl export --figure`: the paper's figures, and those of the analyses."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl.cli.export_output import ExportOptions, records_of
from afdctl.cli.output_path import OutputPath
from afdctl.errors import NotFoundError, RecipeError

if TYPE_CHECKING:
    from afdctl.export.figures.catalogue import FigureSpec
    from afdctl.runs.record import Record


def export(wanted: ExportOptions, figure: str) -> None:
    """Draw the figure of the named runs, by default those of the paper's figure, and print the file's path."""
    from afdctl.export.figures.catalogue import FIGURES, find
    from afdctl.export.figures.style import format_of, save

    name = find(figure)
    kind = FIGURES[name]
    usual = f"figure-{name}.pdf"
    wanted.place.check()
    format_of(Path(usual) if wanted.in_folder else wanted.place.path)
    records = [record for record in records_of(wanted) if wanted.named or kind.shows(record)]
    if not records:
        raise NotFoundError(f"--figure {name}: no run here is {fitting(kind)}, as the figure is; name other runs")
    page = kind.of(records)
    checked = [f"{record.name}: {line}" for record in records for line in record.shown_warnings]
    for line in filter(None, [*others(name, kind, records), kind.hint(records), *checked]):
        typer.echo(f"warning: {line}", err=True)
    path = wanted.file(usual)
    save(page, path)
    shown = {"schema": "afdctl/1", "figure": name, "path": str(path), "title": page.title, "runs": page.runs}
    typer.echo(json.dumps(shown) if wanted.json else path)


def check(figure: str) -> None:
    """Raise RecipeError for an unknown figure, before any run is read."""
    from afdctl.export.figures.catalogue import find

    find(figure)


def others(name: str, kind: "FigureSpec", records: "list[Record]") -> list[str]:
    """Warn of runs whose data set is not in the paper's figure."""
    from afdctl.export.groups import dataset_titles

    foreign = dataset_titles(record.dataset for record in records if not kind.of_dataset(record))
    if not foreign:
        return []
    return [f"the paper's figure {name} is of {dataset_titles(kind.datasets)}; drawn with runs of {foreign}"]


def fitting(kind: "FigureSpec") -> str:
    """The runs that a figure takes by default: `of MNIST`, `of CIFAR-10 by AFD-DCGAN, AFD-WGAN`."""
    from afdctl.export.groups import dataset_titles

    return f"of {dataset_titles(kind.datasets)}" + (f" by {', '.join(kind.methods)}" if kind.methods else "")


def export_report(wanted: ExportOptions, choice: str) -> None:
    """Write the page, and print its path."""
    if wanted.out is not None:
        raise RecipeError("--report: names its own file; leave --out out")
    place = OutputPath.of(choice, "--report")
    if not place.is_folder and place.path.suffix.lower() not in (".html", ".htm"):
        raise RecipeError(f"--report {place}: is an HTML page; give it the suffix .html, or name a folder")
    place.check()

    from afdctl.export.report.page import build
    from afdctl.runs import files

    page = build(records_of(wanted))
    path = place.file(f"{wanted.prefix}report.html")
    files.write_text(path, page)
    typer.echo(json.dumps({"schema": "afdctl/1", "report": str(path)}) if wanted.json else path)
