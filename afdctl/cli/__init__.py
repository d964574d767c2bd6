"""The command line.

A command is imported when it is called. Its module imports only typer and the lowest layer at module scope, and the
rest when the command runs, so that `--help` and mistakes are fast.
"""

import sys

import typer

from afdctl import __version__, user_code
from afdctl.cli import process
from afdctl.cli.commands import CommandTree
from afdctl.cli.process import discard_output, escape_output
from afdctl.errors import NO_SPACE, AfdctlError, DiskFullError, compile_failure, out_of_memory

app = typer.Typer(
    name="afdctl",
    cls=CommandTree,
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich takes longer than everything else in --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"afdctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    """Train adversarially robust image classifiers."""


@escape_output()
def main() -> None:
    """Run the command line. A user's mistake is one line on stderr and an exit code, never a traceback."""
    process.shorten_thread_spin()
    process.keep_freed_memory()
    # a file runs with the user's rights, so it is named before it does
    user_code.announcers[:] = [lambda place: typer.echo(f"executing {place}", err=True)]
    try:
        app()
    except AfdctlError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        # such as a missing permission; errors of files carry a name, so one without is about a standard stream
        message = f"{error.filename or 'stdout or stderr'}: {error.strerror or error}"
        if error.errno in NO_SPACE:
            _fail(f"{message}; {DiskFullError.remedy}", DiskFullError.exit_code)
        _fail(message, AfdctlError.exit_code)
    except (MemoryError, RuntimeError) as error:
        if failure := compile_failure(error):
            _fail(failure, AfdctlError.exit_code)
        if not out_of_memory(error):
            raise
        _fail("the memory is full: lower --batch-size or --limit, or train with a smaller model.width", 1)


def _fail(message: str, exit_code: int) -> None:
    try:
        for line in message.splitlines():
            typer.echo(f"error: {line}", err=True)
    except OSError:
        # if stderr is a file on a full disk, the exit code stays
        discard_output()
    sys.exit(exit_code)
