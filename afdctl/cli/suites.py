"""`afdctl suites`: list, show and copy attack suites."""

import json
from typing import Annotated

import typer

from afdctl import registry
from afdctl.cli import output_path
from afdctl.errors import RecipeError
from afdctl.formatting import did_you_mean, shorten

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

SUITE = typer.Argument(metavar="SUITE", help="A packaged suite's name, or a file.")
DATASET = typer.Option(help="The data set whose attacks are shown.")


@app.command()
def ls(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the packaged suites."""
    import tomli

    from afdctl.suites.load import packaged

    # only titles are read: a suite is resolved for a data set, and here there is none
    titles = {name: tomli.loads(path.read_text(encoding="utf-8"))["title"] for name, path in packaged().items()}
    rows = [{"name": name, "title": title.partition(": ")[2]} for name, title in titles.items()]
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", "suites": rows}))
        return
    for row in rows:
        typer.echo(f"{row['name']:<16}{row['title']}")


@app.command()
def show(suite: Annotated[str, SUITE] = "strong", dataset: Annotated[str, DATASET] = "mnist") -> None:
    """Show the attacks of a suite on a data set: grids, schedules and settings."""
    from afdctl.suites.load import load

    if dataset not in registry.DATASETS:
        hint = did_you_mean(dataset, registry.DATASETS)
        raise RecipeError(f"--dataset '{shorten(dataset)}': no such data set ({hint})")
    for config in load(suite, dataset).attacks:
        settings = ", ".join(f"{key}={value}" for key, value in config.attack_kwargs().items() if value is not None)
        grid = ", ".join(f"{epsilon:.4g}" for epsilon in config.epsilons)
        typer.echo(f"{config.title:<10} [{grid}]  {config.order}  {settings}")


@app.command()
def cp(
    suite: Annotated[str, SUITE],
    to: Annotated[output_path.OutputPath | None, output_path.DEST] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite DEST.")] = False,
) -> None:
    """Copy a suite, to edit it."""
    from afdctl.suites.load import find

    typer.echo(output_path.copy(find(suite), to, force=force))
