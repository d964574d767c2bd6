"""`afdctl profiles`: which attacks a sweep runs."""

from typing import Annotated

import typer

from afdctl.cli import output_path

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show and copy profiles of attacks.")

NAME = typer.Argument(metavar="PROFILE", help="A packaged profile's name, or a file.")


@app.command()
def ls() -> None:
    """List the packaged profiles."""
    import tomli

    from afdctl.suites.load import packaged

    for path in packaged().values():
        typer.echo(f"{path.stem:<16}{tomli.loads(path.read_text(encoding='utf-8'))['title'].partition(': ')[2]}")


@app.command()
def show(
    profile: Annotated[str, NAME] = "strong",
    dataset: Annotated[str, typer.Option(help="The data set whose rows are shown.")] = "mnist",
) -> None:
    """Show what a profile runs on a data set: attacks with their grids, schedules and knobs."""
    from afdctl.suites.load import load

    for spec in load(profile, dataset).attacks:
        knobs = ", ".join(f"{key}={value}" for key, value in spec.knobs().items() if value is not None)
        grid = ", ".join(f"{epsilon:.4g}" for epsilon in spec.epsilons)
        typer.echo(f"{spec.title:<10} [{grid}]  {spec.order}  {knobs}")


@app.command()
def cp(
    profile: Annotated[str, NAME],
    to: Annotated[output_path.OutputPath | None, output_path.DEST] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite DEST.")] = False,
) -> None:
    """Copy a profile, as a start for your own."""
    from afdctl.suites.load import find

    typer.echo(output_path.copy(find(profile), to, force=force))
