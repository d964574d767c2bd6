"""The command tree.

Modules here import only typer and the lowest layer at module scope, so that `--help` and mistakes are fast; commands
import what they need when they run.
"""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from afdctl import __version__
from afdctl.cli import analyze, attack, bench, data, export, models, process, recipes, runs, suites, sweep, train, watch
from afdctl.cli.process import broken_pipe_error, discard_output, escape_output
from afdctl.errors import NO_SPACE, AfdctlError, DiskFullError, compile_failure, out_of_memory


class Commands(TyperGroup):
    """The command tree. Handles a broken pipe before typer, which would exit with 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise broken_pipe_error() from None


app = typer.Typer(
    name="afdctl",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich takes longer than everything else in --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train", short_help="Train a recipe, or resume a stopped run.")(train.train)
app.command("watch", short_help="Watch runs in the dashboard, live or finished.")(watch.watch)
app.command("attack", short_help="Attack models with one attack at one epsilon.")(attack.attack)
app.command("sweep", short_help="Run a suite's attacks over their epsilons.")(sweep.sweep)
app.command("analyze", short_help="Analyse the features of runs.")(analyze.analyze)
app.command("export", short_help="Export tables, figures, reports, raw data and weights of runs.")(export.export)
app.command("bench", short_help="Measure the cost of a recipe on this machine.")(bench.bench)
app.add_typer(runs.app, name="runs")
app.add_typer(recipes.app, name="recipes")
app.add_typer(suites.app, name="suites")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")


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
