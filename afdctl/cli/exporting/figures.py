"""`afdctl export --figure`: the paper's figures, and those of the analyses, from whatever runs there are."""

import json
from typing import TYPE_CHECKING

import typer

from afdctl.cli.exporting.records import named, under
from afdctl.cli.exporting.wanted import Wanted
from afdctl.errors import NotFoundError

if TYPE_CHECKING:
    from afdctl.export.figures.catalogue import Kind
    from afdctl.store.record import Record


def export(wanted: Wanted, figure: str) -> None:
    """Draw the figure of the named runs, or of all that the paper's is of, and print the file's path."""
    from afdctl.export.figures.catalogue import FIGURES, find
    from afdctl.export.figures.page import format_of, save

    name = find(figure)
    kind = FIGURES[name]
    path = wanted.place(f"figure-{name}.pdf")
    format_of(path)
    records = named(wanted) if wanted.named else under(wanted.folder, kind.shows)
    if not records:
        raise NotFoundError(f"{wanted.folder}: {nothing_fits(name, kind)}")
    page = kind.of(records)
    for line in [*others(name, kind, records), *kind.needs.lines(records)]:
        typer.echo(f"warning: {line}", err=True)
    save(page, path)
    shown = {"schema": "afdctl/1", "figure": name, "path": str(path), "title": page.title, "runs": page.runs}
    typer.echo(json.dumps(shown) if wanted.json else path)


def others(name: str, kind: "Kind", records: "list[Record]") -> list[str]:
    """What is said of runs of a data set that the paper's figure is not of."""
    from afdctl.export.figures.groups import names_of

    strange = [record.dataset for record in records if not kind.of_dataset(record)]
    if not strange:
        return []
    return [f"the paper's figure {name} is of {names_of(kind.datasets)}; drawn with runs of {names_of(strange)}"]


def nothing_fits(name: str, kind: "Kind") -> str:
    """What is said where no run is like those of the paper's figure."""
    from afdctl.export.figures.groups import names_of

    of = " ".join([*(["/".join(kind.methods)] if kind.methods else []), names_of(kind.datasets)])
    return f"holds no {of} run, which figure {name} is of; name runs of another data set, or a folder with --runs"
