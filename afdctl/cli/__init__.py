"""The command tree. At module scope the files here import typer and layer 0 only; each command imports what it needs."""

import os
import sys

import typer

from afdctl import __version__
from afdctl.cli import data, recipes, train
from afdctl.errors import AfdctlError

app = typer.Typer(
    name="afdctl",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.add_typer(recipes.app, name="recipes")
app.add_typer(data.app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"afdctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    """Train, attack and analyse adversarially robust image classifiers."""


def main() -> None:
    """Run the command line; a user's mistake becomes one line on stderr and an exit code, never a traceback."""
    try:
        app()
    except AfdctlError as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # the reader of our stdout is gone; give the interpreter a stdout that it can flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
