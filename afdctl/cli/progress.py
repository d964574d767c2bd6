"""Report progress on stderr: a bar on a terminal, plain lines elsewhere.

`ProgressReporter` is the one mechanism. Trainings (`cli.training_progress`), sweeps and analyses each have an adapter
that turns their events into its four calls.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import typer
from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from afdctl.cli.console import Console
from afdctl.cli.process import broken_pipe_error
from afdctl.formatting import format_epsilon

if TYPE_CHECKING:
    from afdctl.evaluation.plan import Task

Row = dict[str, Any]
Item = TypeVar("Item")

# steps and attacks differ in pace, so the time left follows from the last ten minutes
SPEED_SECONDS = 600
# seconds between two lines of a running attack where there is no bar
LINE_SECONDS = 5.0


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
    if console.file.isatty() and not console.is_dumb_terminal:
        with BarReporter(console) as reporter:
            yield reporter
    else:
        yield ProgressReporter(stop_on_broken_pipe(partial(typer.echo, err=True)))


def stop_on_broken_pipe(write: Callable[[Item], None]) -> Callable[[Item], None]:
    """Wrap a function that prints, so that a broken pipe raises StoppedError."""

    def print_or_stop(item: Item) -> None:
        try:
            write(item)
        except BrokenPipeError:
            raise broken_pipe_error() from None

    return print_or_stop


class EvaluationProgress:
    """Reports a sweep from the rows that it writes; `estimates` weigh its attacks by seconds.

    Keys of `estimates` are an attack's title and the run that its images are made on.
    """

    def __init__(self, reporter: ProgressReporter, estimates: Mapping[tuple[str, str], float]) -> None:
        self.reporter, self.estimates = reporter, estimates
        self.done: dict[tuple[str, str], float] = {}
        self.cells: list[Row] = []
        self.next_line = time.monotonic() + LINE_SECONDS
        reporter.begin(sum(estimates.values()) or 1, description="starting")

    def on_row(self, row: Row) -> None:
        match row["event"]:
            case "sweep_progress" | "sweep_block":
                key = row["attack"], row["source"] or row["run"]
                self.done[key] = row["done"] / row["n"]
                completed = sum(self.estimates.get(key, 0) * share for key, share in self.done.items())
                samples = f"{key[1]}  {key[0]}  {row['done']}/{row['n']}  {format_accuracies(row['accuracy'])}".rstrip()
                self.reporter.update(completed=completed, description=samples)
                if time.monotonic() > self.next_line:
                    self.reporter.log(f"{samples}  ({self.format_pace(key, row)})")
                    self.next_line = time.monotonic() + LINE_SECONDS
            case "cell":
                self.cells.append(row)
                if row["epsilon"] == row["last"]:
                    self.reporter.say(format_result(self.cells))
                    self.cells = []
            case "warning":
                self.reporter.say(f"warning: {row['message']}")

    def format_pace(self, key: tuple[str, str], row: Row) -> str:
        """Format how far an attack is in its batch and time: `next batch: 812 passes, 35 s of up to about 14 min`."""
        passes = f"next batch: {row['passes']:,} passes, " if "passes" in row else ""
        estimate = self.estimates.get(key, 0)
        limit = f" of up to about {format_duration(estimate)}" if estimate > row["seconds"] else ""
        return f"{passes}{format_duration(row['seconds'])}{limit}"


class AnalysisProgress:
    """Reports the attacks and analyses of one run; `estimates` are seconds by the key of an attack's task."""

    def __init__(self, reporter: ProgressReporter, estimates: Mapping[str, float]) -> None:
        self.reporter, self.estimates = reporter, estimates
        self.completed, self.images, self.started = 0.0, 0, time.monotonic()
        if estimates:
            reporter.begin(sum(estimates.values()))

    def on_images(self, task: "Task", images: int) -> None:
        """Count images that were attacked; an attack that is done is one line."""
        name = f"{task.source.name}  {task.spec.title}"
        self.images += images
        self.completed += self.estimates[task.block_key] * images / task.n
        self.reporter.update(completed=self.completed, description=name)
        if self.images >= task.n:
            seconds = time.monotonic() - self.started
            self.reporter.say(f"{name} {' '.join(map(format_epsilon, task.epsilons))}  ({seconds:.1f} s)")
            self.images, self.started = 0, time.monotonic()

    def on_analysis(self, name: str) -> None:
        """Report an analysis whose features are there: a moment for most, longer for probes and embeddings."""
        self.reporter.log(f"analysing: {name}")
        self.reporter.begin(None, description=f"analysing: {name}")


def format_result(cells: Sequence[Row]) -> str:
    """Format one attack on one model: `digits_at-001  pgd_linf  0: 99.4 %  0.1: 86.1 %  (3.2 s)`."""
    first = cells[0]
    name = f"{first['run']}  {first['attack']}" + (f" from {first['source']}" if first["source"] else "")
    accuracies = {"0": first["acc_nat"]} | {f"{cell['epsilon']:.4g}": cell["accuracy"] for cell in cells}
    return f"{name}  {format_accuracies(accuracies)}  ({sum(cell['seconds'] for cell in cells):.1f} s)"


def format_accuracies(accuracies: Mapping[str, float]) -> str:
    return "  ".join(f"{float(epsilon):.4g}: {accuracy:.1%}" for epsilon, accuracy in accuracies.items())


def format_duration(seconds: float) -> str:
    """Format seconds in the unit that a person would use: `45 s`, `12 min`, `3.1 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
