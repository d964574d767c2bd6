"""`afdctl data`: list, download and check the data sets."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from afdctl import paths, registry
from afdctl.errors import CorruptError, DataMissingError, RecipeError
from afdctl.formatting import did_you_mean

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, download and check the data sets.")

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", parser=paths.path, help="The folder of data sets (default: AFDCTL_DATA, else the user's cache)"
    ),
]


def _known(names: list[str] | None) -> list[str] | None:
    for name in names or ():
        if name not in registry.DATASETS:
            raise RecipeError(f"no data set '{name}' ({did_you_mean(name, registry.DATASETS)})")
    return names


def _row(name: str, data_dir: Path | None) -> dict[str, Any]:
    """What is known of a data set, and where it is."""
    from dataclasses import asdict

    from afdctl.data import base, search_path

    found = base(name)
    about = found.about and asdict(found.about)
    return {"name": name, **(about or {}), "found": found.find(search_path(data_dir))}


def _line(row: dict[str, Any]) -> str:
    if "shape" not in row:
        size = "your own images"
    else:
        size = (
            f"{row['train']:>7,} + {row['test']:>6,}  {row['classes']:>3} classes  {'x'.join(map(str, row['shape']))}"
        )
    return f"{row['name']:<14} {size:<42} {row['found'] or 'missing'}"


@app.command()
def ls(
    data_dir: DataDir = None, as_json: Annotated[bool, typer.Option("--json", help="One JSON object")] = False
) -> None:
    """List the data sets: training + test images, classes, channels x height x width, and where each was found."""
    rows = [_row(name, data_dir) for name in registry.DATASETS]
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", "datasets": rows}))
    else:
        typer.echo("\n".join(map(_line, rows)))


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", callback=_known)], data_dir: DataDir = None
) -> None:
    """Download data sets, unless they are there."""
    from afdctl.data import base, search_path

    roots = search_path(data_dir)
    for name in names:
        wanted = base(name)
        there = wanted.find(roots)
        if there is None:
            wanted.fetch(roots)
        typer.echo(f"{name}: {'downloaded to' if there is None else 'is there:'} {there or wanted.find(roots)}")


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", callback=_known, help="None: all")] = None,
    data_dir: DataDir = None,
) -> None:
    """Read data sets and check their digests: exit code 3 where one is corrupt, 1 where a named one is missing."""
    codes = {_check(name, data_dir) for name in names or registry.DATASETS}
    if CorruptError.exit_code in codes:
        raise typer.Exit(CorruptError.exit_code)
    if names and DataMissingError.exit_code in codes:
        raise typer.Exit(DataMissingError.exit_code)


def _check(name: str, data_dir: Path | None) -> int:
    """Print whether a data set is whole; the exit code that says so."""
    from afdctl.data import base, search_path
    from afdctl.recipe.schema import Data

    wanted = base(name)
    try:
        source = wanted.load(Data(dataset=name, image_size=32 if wanted.any_size else None), search_path(data_dir))
    except DataMissingError as error:
        typer.echo(f"{name:<14} missing")
        return error.exit_code
    except CorruptError as error:
        typer.echo(f"{name:<14} corrupt  {error}")
        return error.exit_code
    typer.echo(
        f"{name:<14} ok       {len(source.train):,} + {len(source.test):,} images, {len(source.classes)} classes"
    )
    return 0
