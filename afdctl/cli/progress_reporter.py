"""Progress on stderr: a bar on a terminal, plain lines elsewhere.

`ProgressReporter` is the one mechanism. The classes in `cli.progress` and `cli.evaluation_progress` turn the events of
trainings, sweeps and analyses into its four calls.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import typer
from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from afdctl.cli.console import Console
from afdctl.cli.process import broken_pipe_error

# steps and attacks differ in pace, so the time left follows from the last ten minutes
SPEED_SECONDS = 600


class ProgressReporter:
    """Prints plain lines with `write`, and ignores what only moves a bar."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write

    def say(self, text: str) -> None:
        """Print a line that is wanted with or without a bar."""
        self.write(text)

    def log(self, text: str) -> None:
        """Print a line that a bar makes redundant."""
        self.write(text)

    def begin(self, total: float | None, *, completed: float = 0.0, description: str = "", counts: str = "") -> None:
        """Start a bar over `total` units of work; None where its length is unknown."""

    def update(
        self,
        *,
        completed: float | None = None,
        description: str | None = None,
        counts: str = "",
        details: Sequence[RenderableType] | None = None,
    ) -> None:
        """Move the bar; `counts` replaces the percentage, `details` are shown below the bar."""


class BarReporter(ProgressReporter):
    """Draws a bar at the bottom of the terminal; lines scroll past above it, and nothing of it remains at the end."""

    def __init__(self, console: RichConsole) -> None:
        super().__init__(console.print)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(None),
            TextColumn("{task.fields[counts]}  eta"),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            speed_estimate_period=SPEED_SECONDS,
            expand=True,
        )
        self.task = self.progress.add_task("", total=None, counts="")
        self.details: Sequence[RenderableType] = ()
        self.live = Live(get_renderable=self.render, console=console, transient=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def log(self, text: str) -> None:
        pass

    def begin(self, total: float | None, *, completed: float = 0.0, description: str = "", counts: str = "") -> None:
        # rich estimates the pace of a task from all its updates, so new work is a new task
        self.progress.remove_task(self.task)
        # what an earlier process did is completed, but says nothing about the pace
        self.task = self.progress.add_task(description, total=total, completed=completed, counts="")  # type: ignore[arg-type]
        self.update(counts=counts)
        self.live.start()

    def update(
        self,
        *,
        completed: float | None = None,
        description: str | None = None,
        counts: str = "",
        details: Sequence[RenderableType] | None = None,
    ) -> None:
        self.progress.update(self.task, completed=completed, description=description)
        self.progress.update(self.task, counts=counts or f"{self.progress.tasks[0].percentage:>3.0f} %")
        if details is not None:
            self.details = details

    def render(self) -> Group:
        return Group(self.progress, *self.details)


@contextmanager
def progress_reporter() -> Iterator[ProgressReporter]:
    """Choose a bar on a terminal, else plain lines; a closed stderr raises StoppedError."""
    console = Console(stderr=True)
    # a dumb terminal cannot move the cursor back to redraw the bar
    if console.file.isatty() and not console.is_dumb_terminal:
        with BarReporter(console) as reporter:
            yield reporter
    else:
        yield ProgressReporter(_print_line)


def _print_line(text: str) -> None:
    try:
        typer.echo(text, err=True)
    except BrokenPipeError:
        raise broken_pipe_error() from None
