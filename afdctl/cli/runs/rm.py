"""`afdctl runs rm`: runs that nobody needs any more."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from afdctl.cli.runs import options
from afdctl.errors import RecipeError
from afdctl.formatting import format_bytes

YES = typer.Option("--yes", "-y", help="Do not ask.")


def rm(
    names: options.Names,
    yes: Annotated[bool, YES] = False,
    folder: options.Folder = Path("runs"),
) -> None:
    """Remove runs with all they hold, and print their paths. It asks first; without a terminal it needs --yes."""
    from afdctl.runs import removal

    runs = options.at(names, folder)
    for run in runs:
        removal.refuse_removal(run)
    freed = format_bytes(sum(removal.size(run.path) for run in runs))
    what = f"{', '.join(run.name for run in runs)} ({freed})"
    if not yes:
        _ask(what)
    for run in runs:
        removal.remove(run)
        typer.echo(run.path)
    typer.echo(f"{freed} freed", err=True)


def _ask(what: str) -> None:
    """Go on only if a person says so."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RecipeError(f"rm: would remove {what}; there is no terminal to ask on, so say --yes")
    if not typer.confirm(f"Remove {what}?", err=True):
        typer.echo("nothing was removed", err=True)
        raise typer.Exit(1)
