"""What a person sees on stderr while features are computed: a bar on a terminal, else a line for what is done."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from afdctl.cli.console import Console
from afdctl.cli.sweep_progress import duration
from afdctl.formatting import format_epsilon

if TYPE_CHECKING:
    from afdctl.analysis.runner import AnalysisRunner
    from afdctl.evaluation.plan import Task


@contextmanager
def analysis_progress() -> Iterator["ProgressReporter"]:
    """Who tells of the work, as long as it takes."""
    console = Console(stderr=True)
    if console.file.isatty() and not console.is_dumb_terminal:
        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(None),
            TextColumn("{task.percentage:>3.0f} %  eta"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            expand=True,
            speed_estimate_period=600,
        )
        with bar:
            yield Bar(console.print, bar)
    else:
        yield ProgressReporter(partial(typer.echo, err=True))


class ProgressReporter:
    """Says what there is to do for a run, and what is done."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.images = 0
        self.began = 0.0
        self.seconds: dict[str, float] = {}

    def announce(self, study: "AnalysisRunner") -> None:
        """One line, where images have to be attacked first."""
        from afdctl.evaluation import time_estimate

        left, name = study.left(), study.subject.name
        self.images, self.began = 0, time.monotonic()
        if not left:
            return
        size = study.collection.batch_size
        passes = time_estimate.seconds_a_pass(study.subject, size)
        self.seconds = {task.parts_key: time_estimate.task_seconds(task, size, *passes) for task in left}
        attacks = ", ".join(dict.fromkeys(task.spec.title for task in left))
        time_left = duration(sum(self.seconds.values()))
        self.say(
            f"{name}: features of {study.wanted.n:,} images under {attacks}: up to about {time_left} for the attacks"
        )

    def on_progress(self, task: "Task", images: int) -> None:
        self.images += images
        if self.images >= task.n:
            epsilons = " ".join(map(format_epsilon, task.epsilons))
            took = time.monotonic() - self.began
            self.say(f"{task.source.name}  {task.spec.title} {epsilons}  ({took:.1f} s)")
            self.images, self.began = 0, time.monotonic()

    def on_analysis(self, name: str) -> None:
        """The features are there; what comes now takes a moment for most analyses, longer for probes and embeddings."""
        self.say(f"analysing: {name}")


class Bar(ProgressReporter):
    """A bar over all attacks of a run, weighed by the seconds that they may take; what is done scrolls past."""

    def __init__(self, say: Callable[[str], None], bar: Progress) -> None:
        super().__init__(say)
        self.bar, self.shown = bar, bar.add_task("", visible=False)

    def announce(self, study: "AnalysisRunner") -> None:
        super().announce(study)
        self.bar.reset(self.shown, total=sum(self.seconds.values()) or None, visible=bool(self.seconds))

    def on_progress(self, task: "Task", images: int) -> None:
        done = self.seconds[task.parts_key] * images / task.n
        self.bar.update(self.shown, advance=done, description=f"{task.source.name}  {task.spec.title}")
        super().on_progress(task, images)

    def on_analysis(self, name: str) -> None:
        self.bar.update(self.shown, total=None, completed=0, description=f"analysing: {name}", visible=True)
