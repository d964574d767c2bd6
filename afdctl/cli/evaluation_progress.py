"""Report the progress of sweeps and analyses."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from afdctl.cli.progress_reporter import ProgressReporter
from afdctl.formatting import format_epsilon, format_estimate

if TYPE_CHECKING:
    from afdctl.evaluation.plan import Task

Row = dict[str, Any]

# without a bar, an attack longer than this also logs how far it is
LOG_SECONDS = 10


class EvaluationProgress:
    """Reports a sweep from its rows; `estimates` are the seconds of each attack, by its title and source run."""

    def __init__(self, reporter: ProgressReporter, estimates: Mapping[tuple[str, str], float]) -> None:
        self.reporter, self.estimates = reporter, estimates
        self.shares: dict[tuple[str, str], float] = {}
        self.batch: tuple[tuple[str, str], int] | None = None
        self.batch_started = 0.0
        self.cells: list[Row] = []
        self.next_log = time.monotonic() + LOG_SECONDS
        reporter.begin(sum(estimates.values()) or 1, description="starting")

    def on_row(self, row: Row) -> None:
        match row["event"]:
            case "sweep_progress" | "sweep_block":
                key = row["attack"], row["source"] or row["run"]
                self.shares[key] = self.share(key, row)
                completed = sum(self.estimates.get(key, 0) * share for key, share in self.shares.items())
                samples = f"{key[1]}  {key[0]}  {row['done']}/{row['n']}  {format_accuracies(row['accuracy'])}".rstrip()
                pace = self.format_pace(key, row)
                self.reporter.update(completed=completed, description=samples, details=[pace])
                if time.monotonic() > self.next_log:
                    self.reporter.log(f"{samples}  ({pace})")
                    self.next_log = time.monotonic() + LOG_SECONDS
            case "cell":
                self.cells.append(row)
                # an attack's cells arrive together, in the order of its grid
                if row["epsilon"] == row["last"]:
                    self.reporter.say(format_result(self.cells))
                    self.cells = []
            case "warning":
                self.reporter.say(f"warning: {row['message']}")

    def share(self, key: tuple[str, str], row: Row) -> float:
        """Return the completed share of an attack in [0, 1]: images that are done, and time spent on the next batch."""
        done: float = row["done"] / row["n"]
        if self.batch != (key, row["done"]):
            self.batch, self.batch_started = (key, row["done"]), row["seconds"]
        estimate = self.estimates.get(key, 0)
        # a sweep of AutoAttack may be a single batch of many minutes
        in_batch: float = (row["seconds"] - self.batch_started) / estimate if estimate else 0.0
        # an estimate that is too low must not move the bar back at the end of the batch
        return max(self.shares.get(key, 0.0), min(done + in_batch, 1.0))

    def format_pace(self, key: tuple[str, str], row: Row) -> str:
        """Format how far an attack is in its batch and time: `next batch: 812 passes, 35 s of up to about 14 min`."""
        pace = f"next batch: {row['passes']:,} passes, " if "passes" in row else ""
        pace += format_estimate(row["seconds"])
        estimate = self.estimates.get(key, 0)
        return f"{pace} of up to about {format_estimate(estimate)}" if estimate > row["seconds"] else pace


class AnalysisProgress:
    """Reports the attacks and analyses of one run; `estimates` are seconds by the key of an attack's task."""

    def __init__(self, reporter: ProgressReporter, estimates: Mapping[str, float]) -> None:
        self.reporter, self.estimates = reporter, estimates
        self.completed, self.images, self.started = 0.0, 0, time.monotonic()
        # features that the run already holds cost no time
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
