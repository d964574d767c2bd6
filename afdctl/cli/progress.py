"""Turn the events of trainings into progress on stderr."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import typer
from rich.columns import Columns

from afdctl import registry
from afdctl.cli.process import broken_pipe_error
from afdctl.cli.progress_reporter import ProgressReporter, progress_reporter
from afdctl.formatting import format_count
from afdctl.image_counts import format_subset
from afdctl.training_text import (
    format_device,
    format_norm_accuracies,
    format_probe_accuracy,
    format_probe_schedule,
    format_square_accuracy,
)

if TYPE_CHECKING:
    from afdctl.runs.run import Run

Row = dict[str, Any]

# of constant width, so that columns do not move when values change
METRICS = {
    "L_C": "L_C {:6.3f}",
    "L_D": "L_D {:6.3f}",
    "L_F": "L_F {:6.3f}",
    "kl": "KL {:6.3f}",
    "sensitivity": "Se {:5.3f}",
    "d_accuracy": "D acc {:4.0%}",
    "d_hdh_calibrated": "d_HΔH {:5.3f}",
    "images_per_s": "{:7,.0f} images/s",
}
# without a bar, an epoch longer than this also logs how far it is
LOG_SECONDS = 10


class TrainingProgress:
    """Says the opening, warnings and results; a bar shows the steps, or a line every few seconds and every epoch."""

    def __init__(self, reporter: ProgressReporter) -> None:
        self.reporter = reporter
        self.totals: Row = {}
        self.first_step: Row = {}
        self.last_step: Row = {}
        self.validation = ""
        self.next_log = time.monotonic() + LOG_SECONDS
        self.tests: list[Row] = []

    def on_line(self, line: str) -> None:
        self.on_row(json.loads(line))

    def on_row(self, row: Row) -> None:
        match row["event"]:
            case "run" | "resume":
                self.on_start(row)
            case "step":
                self.on_step(row)
            case "epoch":
                self.on_epoch(row)
            case "test":
                self.on_test(row)
            case "alarm":
                from afdctl.runs.alarms import format_alarm

                self.reporter.say(f"alarm: {format_alarm(row)}")
            case "warning":
                self.reporter.say(f"warning: {row['message']}")

    def on_start(self, row: Row) -> None:
        self.totals = row
        self.reporter.say(format_opening(row))
        step, steps = row.get("step", 0), row["steps_total"]
        self.reporter.begin(1.0, completed=step / steps, description="starting", counts=f"{step}/{steps}")

    def on_step(self, row: Row) -> None:
        # the pace is that of this process: a resumed run may be on another machine
        self.first_step = self.first_step or row
        self.last_step = row
        if time.monotonic() >= self.next_log:
            parts = [
                self.epoch_count(row),
                self.step_count(row),
                *format_metrics(row),
                format_eta(self.first_step, row, self.totals),
            ]
            self.log("  ".join(filter(None, parts)))
        self.update(row, self.epoch_count(row))

    def on_epoch(self, row: Row) -> None:
        validation = format_validation(row)
        # the bar keeps the last one through epochs without
        self.validation = validation or self.validation
        parts = [self.epoch_count(row), *format_metrics(self.last_step), validation]
        self.log("  ".join(filter(None, parts)))
        if self.last_step:
            # the test after the last epoch takes a while, in which the bar does not move
            last = row["epoch"] == self.totals["epochs"]
            self.update(self.last_step, "testing" if last else self.epoch_count(row))

    def on_test(self, row: Row) -> None:
        # the best checkpoint is tested after the last one, and is often the same
        self.tests.append(row)
        if row["checkpoint"] == "best":
            self.reporter.say("\n".join(format_results(*self.tests)))

    def update(self, row: Row, description: str) -> None:
        """Move the bar to a step."""
        self.reporter.update(
            completed=completed_share(row, self.totals),
            description=description,
            counts=f"{row['step']}/{self.totals['steps_total']}",
            details=[Columns(format_metrics(row), padding=(0, 2)), self.validation],
        )

    def log(self, line: str) -> None:
        """Log a line, and none for steps in the next few seconds."""
        self.next_log = time.monotonic() + LOG_SECONDS
        self.reporter.log(line)

    def epoch_count(self, row: Row) -> str:
        total = str(self.totals["epochs"])
        return f"epoch {row['epoch']:>{len(total)}}/{total}"

    def step_count(self, row: Row) -> str:
        total = str(self.totals["steps_total"])
        return f"step {row['step']:>{len(total)}}/{total}"


def format_eta(first: Row, last: Row, totals: Row) -> str:
    """Format the time to the last step at the pace between two steps; later steps may cost more."""
    start, now = completed_share(first, totals), completed_share(last, totals)
    seconds = last.get("t", 0) - first.get("t", 0)
    if seconds <= 0 or now <= start:
        return ""
    minutes, seconds = divmod(round((1 - now) * seconds / (now - start)), 60)
    return f"eta {minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def completed_share(row: Row, totals: Row) -> float:
    """Return the share of the training's work that is done after a step."""
    # `progress` weighs steps by their cost; without it all count the same
    share: float = row.get("progress", row["step"] / totals["steps_total"])
    return share


@contextmanager
def training_progress(run: "Run", *, as_json: bool) -> Iterator[Callable[[str], None]]:
    """Return the function that shows each line of the journal: as it is on stdout, or as progress on stderr.

    It raises StoppedError when its reader is gone.
    """
    if as_json:
        yield partial(_print_line, run)
        return
    with progress_reporter() as reporter:
        yield TrainingProgress(reporter).on_line


def _print_line(run: "Run", line: str) -> None:
    try:
        typer.echo(line)
    except BrokenPipeError:
        # `head -1` leaves before the first checkpoint is complete, and without one the run would be removed; the next
        # line fails too, and by then the run can be resumed
        if run.exists:
            resume = f"resume with `afdctl train --resume {run.path}`"
            raise broken_pipe_error(f"{run.path}: stopped, because stdout was closed; {resume}") from None


def format_opening(row: Row) -> str:
    """Describe the training that starts, or the step that a run resumes at."""
    if row["event"] == "resume":
        return f"resuming at step {row['step']} of {row['steps_total']}"
    recipe, images = row["recipe"], row["images"]
    own = recipe.get("user_code") or {}
    defense = registry.describe(registry.DEFENSES, recipe["defense"]["name"], own.get("defense"))
    dataset = own["data"]["label"] if "data" in own else recipe["data"]["dataset"]
    share = recipe["data"].get("extra_share")
    method = defense.method(recipe["defense"], recipe["attack"])
    extra = f" with {share:.0%} of each batch from {images['extra']:,} others" if share else ""
    return (
        f"{row['name']}: {method} on {dataset}, {row['parameters']:,} parameters, "
        f"{format_count(row['epochs'], 'epoch')} of {format_count(row['steps_per_epoch'], 'step')} "
        f"on {format_device(row)}\n"
        f"{row['classes']} classes: {images['train']:,} images to train on{extra}, {images['holdout']:,} held out, "
        f"{images['test']:,} to test" + format_probe_schedule(row)
    )


def format_metrics(row: Row) -> list[str]:
    """Format the losses and the discriminator's metrics of a step; a value that is not a number is `nan`."""
    values = {name: float("nan") if row[name] is None else row[name] for name in METRICS if name in row}
    # losses of a user's defense
    own = {name: row[name] for name in row if name.startswith("L_") and name not in METRICS and row[name] is not None}
    losses = [f"{name} {value:6.3f}" for name, value in own.items()]
    return [*losses, *(METRICS[name].format(value) for name, value in values.items())]


def format_validation(row: Row) -> str:
    """Format an epoch's accuracies on the hold-out split, if there is one."""
    if "acc_nat" not in row:
        return ""
    images = f", {format_count(row['n'], 'image')}" if "n" in row else ""
    robust = f"APGD-CE {row['acc_adv']:6.1%}{format_probe_accuracy(row.get('acc_probe'))}{format_norm_accuracies(row)}"
    best = "  best" if row["best"] else ""
    return f"validation: clean {row['acc_nat']:6.1%}, {robust} (no AutoAttack){images}{best}"


def format_results(last: Row, best: Row) -> list[str]:
    """Format a line per tested checkpoint, or one for both where the last checkpoint is the best."""
    if best["checkpoint_step"] == last["checkpoint_step"]:
        return [_format_result("best and last", best)]
    return [_format_result("best", best), _format_result("last", last)]


def _format_result(name: str, row: Row) -> str:
    square = format_square_accuracy(row.get("acc_square"), row.get("square_queries"))
    return (
        f"test, {name} checkpoint (step {row['checkpoint_step']}): clean {row['acc_nat']:.1%}, "
        f"{row['attack']} {row['acc_adv']:.1%}{square}{format_norm_accuracies(row)} (no AutoAttack), "
        f"{format_subset(row, 'images')}"
    )
