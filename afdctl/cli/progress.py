"""What a person sees of a training: made from the journal's lines as they are written, on stderr."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self, TypeVar

import typer
from rich.columns import Columns
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from afdctl.cli.broken_pipe import broken_pipe_error
from afdctl.cli.console import Console
from afdctl.formatting import format_square_accuracy

Row = dict[str, Any]
OnLine = Callable[[str], None]
What = TypeVar("What")

# of constant width, so that what stands behind a figure does not move
FIGURES = {
    "L_C": "L_C {:6.3f}",
    "L_D": "L_D {:6.3f}",
    "L_F": "L_F {:6.3f}",
    "kl": "KL {:6.3f}",
    "sensitivity": "Se {:5.3f}",
    "d_accuracy": "D acc {:4.0%}",
    "d_hdh_calibrated": "d_HΔH {:5.3f}",
    "images_per_s": "{:7,.0f} images/s",
}
SPEED_SECONDS = 600
PLAIN_SECONDS = 10
"""Without a terminal, an epoch of more seconds than these also has lines of its own steps."""


@contextmanager
def training_progress(as_json: bool) -> Iterator[OnLine]:
    """The function that shows each line of the journal: as it is on stdout, as a progress bar, or as a line an epoch.

    It raises StoppedError when nobody reads any more.
    """
    console = Console(stderr=True)
    if as_json:
        yield stop_on_broken_pipe(typer.echo)
    elif console.file.isatty() and not console.is_dumb_terminal:
        with ProgressBar(console) as bar:
            yield bar.on_line
    else:
        yield stop_on_broken_pipe(Lines(partial(typer.echo, err=True)).on_line)


def stop_on_broken_pipe(tell: Callable[[What], None]) -> Callable[[What], None]:
    """`tell`, with StoppedError for a broken pipe."""

    def show(what: What) -> None:
        try:
            tell(what)
        except BrokenPipeError:
            raise broken_pipe_error() from None

    return show


class Lines:
    """The opening, a line every few seconds and one an epoch, the warnings and the results: given to `say`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.totals: Row = {}
        self.first_step: Row = {}
        self.last_step: Row = {}
        self.due = time.monotonic() + PLAIN_SECONDS
        self.tests: list[Row] = []

    def on_line(self, line: str) -> None:
        row = json.loads(line)
        match row["event"]:
            case "run" | "resume":
                self.start(row)
            case "step":
                self.step(row)
            case "epoch":
                self.epoch(row)
            case "test":
                self.test(row)
            case "warning":
                self.say(f"warning: {row['message']}")

    def start(self, row: Row) -> None:
        self.totals = row
        self.say(opening(row))

    def step(self, row: Row) -> None:
        self.first_step = self.first_step or row
        self.last_step = row
        if time.monotonic() >= self.due:
            words = [
                self.of_epochs(row),
                self.of_steps(row),
                *figures(row),
                remaining(self.first_step, row, self.totals),
            ]
            self.tell("  ".join(filter(None, words)))

    def tell(self, line: str) -> None:
        """Say a line, and let the next few seconds pass without one."""
        self.due = time.monotonic() + PLAIN_SECONDS
        self.say(line)

    def epoch(self, row: Row) -> None:
        self.tell("  ".join(filter(None, [self.of_epochs(row), *figures(self.last_step), validation(row)])))

    def test(self, row: Row) -> None:
        # the best checkpoint comes after the last one, and is often the same
        self.tests.append(row)
        if row["checkpoint"] == "best":
            self.say("\n".join(results(*self.tests)))

    def of_epochs(self, row: Row) -> str:
        total = str(self.totals["epochs"])
        return f"epoch {row['epoch']:>{len(total)}}/{total}"

    def of_steps(self, row: Row) -> str:
        total = str(self.totals["steps_total"])
        return f"step {row['step']:>{len(total)}}/{total}"


class ProgressBar(Lines):
    """A bar with the epoch, the steps and the time left; below it the step's figures and the last validation.

    The opening, the warnings and the results scroll past above it.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console.print)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(None),
            TextColumn("{task.fields[step]}/{task.fields[steps]}  eta"),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            speed_estimate_period=SPEED_SECONDS,
            expand=True,
        )
        self.task = self.progress.add_task("starting", total=1.0, step=0, steps=0)
        self.figures: list[str] = []
        self.validation = ""
        self.live = Live(get_renderable=self.render, console=console, transient=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def start(self, row: Row) -> None:
        super().start(row)
        begun = row.get("step", 0)
        self.progress.reset(self.task, completed=begun / row["steps_total"], step=begun, steps=row["steps_total"])
        self.live.start()

    def step(self, row: Row) -> None:
        self.figures = figures(row)
        done = done_by(row, self.totals)
        self.progress.update(self.task, completed=done, step=row["step"], description=self.of_epochs(row))

    def epoch(self, row: Row) -> None:
        self.validation = validation(row)
        if row["epoch"] == self.totals["epochs"]:
            self.progress.update(self.task, description="testing")

    def render(self) -> Group:
        return Group(self.progress, Columns(self.figures, padding=(0, 2)), self.validation)


def remaining(first: Row, last: Row, totals: Row) -> str:
    """The time to the last step, at the pace between two steps; later ones may be dearer."""
    begun, done = done_by(first, totals), done_by(last, totals)
    took = last.get("t", 0) - first.get("t", 0)
    if took <= 0 or done <= begun:
        return ""
    minutes, seconds = divmod(round((1 - done) * took / (done - begun)), 60)
    return f"eta {minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def done_by(row: Row, totals: Row) -> float:
    """The share of the training's work that is done after a step."""
    share: float = row.get("progress", row["step"] / totals["steps_total"])
    return share


def opening(row: Row) -> str:
    """What is trained, or from where a run goes on."""
    if row["event"] == "resume":
        return f"going on at step {row['step']} of {row['steps_total']}"
    recipe, images = row["recipe"], row["images"]
    return (
        f"{row['name']}: {recipe['defense']['name']} on {recipe['data']['dataset']}, {row['parameters']:,} parameters, "
        f"{row['epochs']} epochs of {row['steps_per_epoch']} steps on {row['device']}\n"
        f"{row['classes']} classes: {images['train']:,} images to train on, {images['holdout']:,} held out, "
        f"{images['test']:,} to test"
    )


def figures(row: Row) -> list[str]:
    """The losses and the discriminator's figures of a step; a loss that is no number says so."""
    known = {name: float("nan") if row[name] is None else row[name] for name in FIGURES if name in row}
    return [FIGURES[name].format(value) for name, value in known.items()]


def validation(row: Row) -> str:
    """An epoch's accuracies on the hold-out, if there is one."""
    if "acc_nat" not in row:
        return ""
    best = "  best" if row["best"] else ""
    square = format_square_accuracy(row.get("acc_square"))
    return f"validation: clean {row['acc_nat']:6.1%}, PGD {row['acc_adv']:6.1%}{square} (no AutoAttack){best}"


def results(last: Row, best: Row) -> list[str]:
    """A line a checkpoint, or one for both where the last one is the best."""
    if best["checkpoint_step"] == last["checkpoint_step"]:
        return [result("best and last", best)]
    return [result("best", best), result("last", last)]


def result(which: str, row: Row) -> str:
    """A checkpoint's accuracies on the test split."""
    square = format_square_accuracy(row.get("acc_square"))
    return (
        f"test, {which} checkpoint (step {row['checkpoint_step']}): clean {row['acc_nat']:.1%}, "
        f"{row['attack']} {row['acc_adv']:.1%}{square} (no AutoAttack), {row['n']:,} images"
    )
