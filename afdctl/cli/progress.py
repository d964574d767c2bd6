"""What a person sees of a training: made from the journal's lines as they are written, on stderr."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from afdctl.errors import StoppedError

Row = dict[str, Any]
FIGURES = {"L_C": "L_C", "L_D": "L_D", "L_F": "L_F", "kl": "KL", "sensitivity": "Se", "d_accuracy": "D acc", "d_hdh_calibrated": "d_HΔH"}


@contextmanager
def reporting(as_json: bool) -> Iterator[Callable[[str], None]]:
    """The function that shows each line of the journal: as it is on stdout, as a progress bar, or as a line an epoch."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if as_json:
        yield JsonLines()
    elif console.is_terminal and not console.is_dumb_terminal:
        with ProgressBar(console) as bar:
            yield bar.on_line
    else:
        yield EpochLines(console).on_line


class JsonLines:
    """The journal on stdout, for pipelines."""

    def __init__(self) -> None:
        self.open = True

    def __call__(self, line: str) -> None:
        if not self.open:
            return
        try:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        except BrokenPipeError:
            self.open = False
            # what is left in the buffer has no reader; the interpreter flushes it when it exits
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise StoppedError("the reader of stdout is gone; the run was saved", signal.SIGPIPE) from None


class EpochLines:
    """One line an epoch, and the results."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.totals: Row = {}
        self.figures = ""

    def on_line(self, line: str) -> None:
        row = json.loads(line)
        match row["event"]:
            case "run" | "resume":
                self.totals = row
                self.console.print(opening(row))
            case "step":
                self.figures = figures(row)
            case "epoch":
                self.console.print(f"epoch {row['epoch']}/{self.totals['epochs']}  {self.figures}  {validation(row)}")
            case _:
                show_result(self.console, row)


class ProgressBar:
    """A bar with epoch, step and time left, the losses below it, and the results above it when they come."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TextColumn("steps"),
            TimeElapsedColumn(), TextColumn("eta"), TimeRemainingColumn(), console=console, expand=True,
        )  # fmt: skip
        self.task = self.progress.add_task("starting", total=None)
        self.totals: Row = {}
        self.lines = [Text(), Text()]
        self.live = Live(Group(self.progress, *self.lines), console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> "ProgressBar":
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def on_line(self, line: str) -> None:
        row = json.loads(line)
        match row["event"]:
            case "run" | "resume":
                self.totals = row
                self.console.print(opening(row))
                self.progress.reset(self.task, total=row["steps_total"], completed=row.get("step", 0))
            case "step":
                self._show(0, f"{figures(row)}  {row['images_per_s']:.0f} images/s")
                self.progress.update(
                    self.task, completed=row["step"], description=f"epoch {row['epoch']}/{self.totals['epochs']}"
                )
            case "epoch":
                self._show(1, validation(row))
            case _:
                show_result(self.console, row)

    def _show(self, place: int, text: str) -> None:
        self.lines[place].plain = text


def opening(row: Row) -> str:
    if row["event"] == "resume":
        return f"going on at step {row['step']} of {row['steps_total']}"
    recipe = row["recipe"]
    return (
        f"{row['name']}: {recipe['defense']['name']} on {recipe['data']['dataset']}, {row['parameters']:,} parameters, "
        f"{row['epochs']} epochs of {row['steps_per_epoch']} steps on {row['device']}"
    )


def figures(row: Row) -> str:
    """The losses and the discriminator's figures of a step; a loss that is no number says so."""
    shown = [(title, row[name]) for name, title in FIGURES.items() if name in row]
    return "  ".join(f"{title} {'NaN' if value is None else f'{value:.3f}'}" for title, value in shown)


def validation(row: Row) -> str:
    if "acc_nat" not in row:
        return ""
    return f"validation: clean {row['acc_nat']:.1%}, PGD {row['acc_adv']:.1%}{' (best)' if row['best'] else ''}"


def show_result(console: Console, row: Row) -> None:
    """A test's accuracies, or a warning; nothing else is for people."""
    if row["event"] == "test":
        console.print(
            f"test, {row['checkpoint']} checkpoint (step {row['of_step']}): clean {row['acc_nat']:.1%}, "
            f"{row['attack']} {row['acc_adv']:.1%} (no AutoAttack), {row['n']:,} images"
        )
    elif row["event"] == "warning":
        console.print(f"warning: {row['message']}")
