"""The command tree.

Modules here import only typer and the lowest layer at module scope, so that `--help` and mistakes are fast; commands
import what they need when they run.
"""

import re
import sys
from typing import Any, Final

import typer
from typer.core import TyperGroup

from afdctl import __version__
from afdctl.cli import (
    analyze,
    attack,
    bench,
    data,
    export,
    models,
    process,
    recipes,
    runs,
    suites,
    sweep,
    train,
    verify,
    watch,
)
from afdctl.cli.process import broken_pipe_error, discard_output, escape_output
from afdctl.errors import NO_SPACE, AfdctlError, DiskFullError, RecipeError, compile_failure, out_of_memory
from afdctl.user_code import code

# typer's usage errors as afdctl's: what a pattern matches, and what is printed instead
USAGE: Final = (
    (r"^Invalid value for '(.+?)': ", r"\1: "),
    (r"^Option '(.+?)' ", r"\1: "),
    (r"^Missing argument '(.+?)'\.", r"\1: missing"),
    (r"^No such (option|command):? '?([^ ']+)'?\.?", r"\2: no such \1"),
    (r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)", r"unexpected: \1"),
    (r"\(Possible options: (.*)\)", r"(did you mean \1?)"),
    (r" Did you mean (.*)\?$", r" (did you mean \1?)"),
    # typer validates numbers with pydantic
    (r"Input should be ", "must be "),
    (r"a valid integer\b.*", "a whole number"),
    (r"a valid number\b.*", "a number"),
    (r"greater than or equal to ", "at least "),
    (r"less than or equal to ", "at most "),
    (r"\.$", ""),
)
# ancestors of a public class, because typer moved its copy of click from one private place to another
USAGE_ERROR: Final[Any] = typer.BadParameter.__bases__[0]


class Commands(TyperGroup):
    """The command tree. Ends errors and broken pipes as afdctl does, not as typer would."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command. typer would print "Usage" and "Error: " for a mistake, in three lines."""
        try:
            # the name would be `python -m afdctl` where that started it
            code = super().main(*args, **{"prog_name": "afdctl", **options, "standalone_mode": False})
        except USAGE_ERROR as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
                sys.exit(RecipeError.exit_code)
            raise RecipeError(usage_message(error)) from None
        except typer.Abort:
            raise AfdctlError("no answer, so nothing was done") from None
        sys.exit(code or 0)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise broken_pipe_error() from None


def usage_message(error: Any) -> str:
    """Return the message of typer's error in afdctl's words, with the command that shows the options."""
    message = error.format_message()
    for pattern, words in USAGE:
        message = re.sub(pattern, words, message)
    # typer's parser does not know the command of an option without its value
    return f"{message}; see `{error.ctx.command_path} --help`" if error.ctx else message


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
app.command("verify", short_help="Compare runs with the paper's numbers.")(verify.verify)
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
    # a file runs with the user's rights, so it is named before it does
    code.announcers[:] = [lambda place: typer.echo(f"executing {place}", err=True)]
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
