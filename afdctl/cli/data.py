"""`afdctl data`: list, download, show and check data sets."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from afdctl import paths, registry
from afdctl.errors import CorruptError, DataMissingError, NotFoundError, RecipeError
from afdctl.formatting import did_you_mean, format_range

# Pixels a side at which data sets without a fixed size are read for a check.
CHECK_IMAGE_SIZE = 32

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        parser=paths.path,
        help="Folder of the data sets, or the file of `arrays` (default: AFDCTL_DATA, else the user's cache).",
    ),
]


def check_names(names: list[str] | None) -> list[str] | None:
    """Raise RecipeError for a name that is not a data set's."""
    for name in names or ():
        if name not in registry.DATASETS:
            raise RecipeError(f"no data set '{name}' ({did_you_mean(name, registry.DATASETS)})")
    return names


@app.command()
def ls(
    data_dir: DataDir = None, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False
) -> None:
    """List data sets: training + test images, classes, channels x height x width, and location."""
    rows = [describe(name, data_dir) for name in registry.DATASETS]
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", "datasets": rows}))
    else:
        typer.echo("\n".join(map(format_row, rows)))


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", callback=check_names)], data_dir: DataDir = None
) -> None:
    """Download data sets that are missing."""
    from afdctl.data import loader_of, search_path

    roots = search_path(data_dir)
    for name in names:
        loader = loader_of(name)
        # found in any folder that a training would search, so it is not downloaded again
        if location := loader.find(roots):
            typer.echo(f"{name}: already present ({location})")
        else:
            loader.fetch(roots)
            typer.echo(f"{name}: downloaded to {loader.find(roots)}")


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", callback=check_names, help="Default: all.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Read data sets and check their digests; exit code 3 if one is corrupt, or a named one is missing."""
    # without a name, a data set that was never downloaded is no failure: few machines have them all
    accepted = {"ok"} if names else {"ok", "missing"}
    if not accepted.issuperset({verify_dataset(name, data_dir) for name in names or registry.DATASETS}):
        raise typer.Exit(NotFoundError.exit_code)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A data set, or a file of arrays.")],
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Read a data set, and show its images, classes, digest and warnings."""
    if name not in registry.DATASETS and (paths.path(name).exists() or "." in name):
        name, data_dir = "arrays", paths.path(name)
    check_names([name])
    facts = read_facts(name, data_dir)
    typer.echo(json.dumps({"schema": "afdctl/1", **facts}) if as_json else format_facts(facts))


def read_facts(name: str, data_dir: Path | None) -> dict[str, Any]:
    """Read a data set; return its location, images and labels of both splits, digest and warnings."""
    from afdctl.data import ImageTensors, loader_of, roots

    def describe_split(images: ImageTensors) -> dict[str, Any]:
        counts = images.y.bincount(minlength=len(dataset.classes)).tolist()
        return {
            "images": len(images),
            "shape": list(images.x.shape[1:]),
            "dtype": str(images.x.dtype).removeprefix("torch."),
            "mapped": images.mapped,
            "per_class": dict(zip(dataset.classes, counts, strict=True)),
        }

    loader, folders = loader_of(name), roots(name, data_dir)
    side = CHECK_IMAGE_SIZE if loader.resizes and not loader.info else None
    dataset = loader.load(folders, image_size=side)
    return {
        "name": name,
        "found": loader.find(folders),
        "classes": len(dataset.classes),
        "train": describe_split(dataset.train),
        "test": describe_split(dataset.test),
        "digest": dataset.digest,
        "warnings": [*dataset.notes, *([f"resized to {side} x {side} pixels for this answer"] if side else [])],
    }


def format_facts(facts: dict[str, Any]) -> str:
    """Format what `show` prints, one fact a line."""
    lines = [f"{facts['name']}: {facts['found']}"]
    for split in ("train", "test"):
        row = facts[split]
        counts = row["per_class"].values()
        stored = f"{'x'.join(map(str, row['shape']))} {row['dtype']}{', read from the file' if row['mapped'] else ''}"
        lines.append(f"{split:<8} {row['images']:,} images, {stored}; {format_range(counts)} in a class")
    lines += [f"classes  {facts['classes']}", f"digest   {facts['digest']}"]
    return "\n".join([*lines, *(f"warning: {note}" for note in facts["warnings"])])


def describe(name: str, data_dir: Path | None) -> dict[str, Any]:
    """Return a data set's published size, if it has one, and its location."""
    from dataclasses import asdict

    from afdctl.data import loader_of, search_path

    loader = loader_of(name)
    size = asdict(loader.info) if loader.info else {}
    return {"name": name, **size, "found": loader.find(search_path(data_dir))}


def format_row(row: dict[str, Any]) -> str:
    """Format a row of `ls` as one line."""
    size = "your own images"
    if "shape" in row:
        shape = "x".join(map(str, row["shape"]))
        size = f"{row['train']:>7,} + {row['test']:>6,}  {row['classes']:>3} classes  {shape}"
    return f"{row['name']:<14} {size:<42} {row['found'] or 'missing'}"


def verify_dataset(name: str, data_dir: Path | None) -> str:
    """Print and return whether a data set is `ok`, `missing` or `corrupt`."""
    from afdctl.data import loader_of, search_path

    loader = loader_of(name)
    try:
        # loading compares the digests, exactly as a training does
        dataset = loader.load(search_path(data_dir), image_size=CHECK_IMAGE_SIZE if loader.resizes else None)
    except DataMissingError:
        typer.echo(f"{name:<14} missing")
        return "missing"
    except CorruptError as error:
        typer.echo(f"{name:<14} corrupt  {error}")
        return "corrupt"
    sizes = f"{len(dataset.train):,} + {len(dataset.test):,} images, {len(dataset.classes)} classes"
    typer.echo(f"{name:<14} ok       {sizes}")
    return "ok"
