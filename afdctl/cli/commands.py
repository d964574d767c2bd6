"""The commands of afdctl: where each one is, imported when it is needed, and mistakes in the command line."""

import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from afdctl.cli.process import broken_pipe_error
from afdctl.errors import AfdctlError, RecipeError

# a command, or a group of commands: its function or Typer below `afdctl.cli`, and its line in --help
COMMANDS: Final = {
    "train": ("train:train", "Train a recipe, or resume a stopped run."),
    "watch": ("watch:watch", "Watch runs in the dashboard, live or finished."),
    "attack": ("attack:attack", "Attack models with one attack at one epsilon."),
    "sweep": ("sweep:sweep", "Run a suite's attacks over their epsilons."),
    "analyze": ("analyze:analyze", "Analyse the features of runs."),
    "export": ("export:export", "Export tables, figures, reports, raw data and weights of runs."),
    "verify": ("verify:verify", "Compare runs with published numbers."),
    "bench": ("bench:bench", "Measure the cost of a recipe on this machine."),
    "runs": ("runs:app", "List, show, compare and remove runs, and import models as runs."),
    "recipes": ("recipes:app", "List, show, copy and check recipes."),
    "suites": ("suites:app", "List, show and copy attack suites."),
    "models": ("models:app", "List, show and make models to start from."),
    "data": ("data:app", "List, download, show and check data sets."),
}
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


@cache
def load(name: str) -> Any:
    """Import a command, and return it as typer's command object."""
    place, help_line = COMMANDS[name]
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"afdctl.cli.{module}"), attribute)
    app = typer.Typer(name=name, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    if not isinstance(found, typer.Typer):
        app.command(name, short_help=help_line)(found)
        return typer.main.get_command(app)
    app.add_typer(found, name=name, help=help_line)
    return typer.main.get_group(app).commands[name]


class LazyCommands(Mapping[str, Any]):
    """The commands by name. One that is looked up is imported, since all of them take longer than typer itself."""

    def __getitem__(self, name: str) -> Any:
        return load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class CommandTree(TyperGroup):
    """The command tree. Ends errors and broken pipes as afdctl does, not as typer would."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes | {"commands": LazyCommands()})

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of --help, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])

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
