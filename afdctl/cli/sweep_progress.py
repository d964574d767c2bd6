"""What a person sees of a sweep: made from the journal's rows as they are written, on stderr."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from afdctl.cli.console import Console
from afdctl.cli.progress import stop_on_broken_pipe

Row = dict[str, Any]
Name = tuple[str, str]
"""An attack, and the model that it makes its images against."""


@contextmanager
def sweep_progress(estimates: Mapping[Name, float]) -> Iterator[Callable[[Row], None]]:
    """The function that shows each row: a bar on a terminal, else a line for each attack that is done.

    `estimates` weighs the attacks by the seconds that they may take.
    """
    console = Console(stderr=True)
    if console.file.isatty() and not console.is_dumb_terminal:
        with Bar(console, estimates).shown() as bar:
            yield bar.on_row
    else:
        yield stop_on_broken_pipe(Lines(partial(typer.echo, err=True)).on_row)


class Lines:
    """A line for each attack on each model that is done, and the warnings: each is given to `say`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.cells: list[Row] = []

    def on_row(self, row: Row) -> None:
        match row["event"]:
            case "sweep_progress" | "sweep_part":
                self.progress(row)
            case "cell":
                self.cell(row)
            case "warning":
                self.say(f"warning: {row['message']}")

    def progress(self, row: Row) -> None:
        pass

    def cell(self, row: Row) -> None:
        self.cells.append(row)
        if row["epsilon"] == row["last"]:
            self.say(finished(self.cells))
            self.cells = []


class Bar(Lines):
    """A bar over the whole sweep, with the attack at hand, its samples and the time left; what is done scrolls past."""

    def __init__(self, console: Console, estimates: Mapping[Name, float]) -> None:
        super().__init__(console.print)
        self.estimates = estimates
        self.done: dict[Name, float] = {}
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(None),
            TextColumn("{task.percentage:>3.0f} %  eta"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            expand=True,
            speed_estimate_period=600,
        )
        self.task = self.bar.add_task("starting", total=sum(estimates.values()) or 1)

    @contextmanager
    def shown(self) -> Iterator["Bar"]:
        with self.bar:
            yield self

    def progress(self, row: Row) -> None:
        name = (row["attack"], row["source"] or row["run"])
        self.done[name] = row["done"] / row["n"]
        completed = sum(self.estimates.get(name, 0) * share for name, share in self.done.items())
        shown = f"{row['source'] or row['run']}  {row['attack']}  {row['done']}/{row['n']}  {percents(row['accuracy'])}"
        self.bar.update(self.task, completed=completed, description=shown)


def finished(cells: list[Row]) -> str:
    """One attack on one model: `digits_at-001  pgd_linf  0: 99.4 %  0.1: 86.1 %  (3.2 s)`."""
    first = cells[0]
    who = f"{first['run']}  {first['attack']}" + (f" from {first['source']}" if first["source"] else "")
    accuracy = {"0": first["acc_nat"]} | {f"{cell['epsilon']:.4g}": cell["accuracy"] for cell in cells}
    return f"{who}  {percents(accuracy)}  ({sum(cell['seconds'] for cell in cells):.1f} s)"


def percents(accuracy: Mapping[str, float]) -> str:
    return "  ".join(f"{float(epsilon):.4g}: {value:.1%}" for epsilon, value in accuracy.items())


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
