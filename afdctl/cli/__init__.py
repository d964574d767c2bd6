"""The command tree. Files here import typer and layer 0 at module scope; each command imports what else it needs."""

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from afdctl import __version__
from afdctl.cli import analyze, attack, bench, data, export, malloc, recipes, runs, suites, sweep, train, watch
from afdctl.cli.broken_pipe import broken_pipe_error, silence
from afdctl.cli.printing import printing_safely
from afdctl.errors import NO_SPACE, AfdctlError, DiskFullError, compile_failure, out_of_memory


class Commands(TyperGroup):
    """The tree; it meets a broken pipe before typer does, which would exit with 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise broken_pipe_error() from None


app = typer.Typer(
    name="afdctl",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich for the help costs more than all else that it needs
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train", short_help="Train a recipe, or go on with a stopped run.")(train.train)
app.command("watch", short_help="Watch runs in the dashboard, live or finished.")(watch.watch)
app.command("attack", short_help="Attack models with one attack at one epsilon.")(attack.attack)
app.command("sweep", short_help="Run a suite's attacks over their epsilons.")(sweep.sweep)
app.command("analyze", short_help="Analyse what a training did to the features.")(analyze.analyze)
app.command("export", short_help="Export what runs hold, as files for other programs.")(export.export)
app.command("bench", short_help="Measure what a recipe costs on this machine.")(bench.bench)
app.add_typer(runs.app, name="runs")
app.add_typer(recipes.app, name="recipes")
app.add_typer(suites.app, name="suites")
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


@printing_safely()
def main() -> None:
    """Run the command line; a user's mistake becomes one line on stderr and an exit code, never a traceback."""
    # Threads of torch's libgomp spin while they wait for each other, and beside other busy processes for longer than
    # they work. A shorter spin made a small network train twice as fast there, and 8 % slower on an idle machine.
    # Read when torch is imported; a user's own value wins.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    malloc.keep_freed_memory()
    try:
        app()
    except AfdctlError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        # a file without permission, a folder that went away: the system's own words say enough
        # every file is named where it is opened; what remains is a stream that this process was given
        words = f"{error.filename or 'stdout or stderr'}: {error.strerror or error}"
        if error.errno in NO_SPACE:
            _fail(f"{words}; {DiskFullError.remedy}", DiskFullError.exit_code)
        _fail(words, AfdctlError.exit_code)
    except (MemoryError, RuntimeError) as error:
        if message := compile_failure(error):
            _fail(message, AfdctlError.exit_code)
        if not out_of_memory(error):
            raise
        _fail("the memory is full: lower --batch-size or --limit, or train with a smaller model.width", 1)


def _fail(message: str, exit_code: int) -> None:
    try:
        for line in message.splitlines():
            typer.echo(f"error: {line}", err=True)
    except OSError:
        # a full disk under stderr must not change the exit code
        silence()
    sys.exit(exit_code)
