"""What is known of a run: made from its journal's rows, as they come, in memory that does not grow with the run."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from afdctl.journal import SCHEMA, Line, Row
from afdctl.runs.metric_history import MetricHistory, RecentSteps
from afdctl.runs.status import StatusTracker
from afdctl.tui.state import log_entries
from afdctl.tui.state.sweep import SweepProgress

# What a row with missing or wrong fields raises where it is used.
MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
RECENT = 12288
ENTRIES = 2000
EPOCHS = 10000
ACCURACIES = ("acc_nat", "acc_adv", "acc_square")
SPEED_ROWS = 200
MOST_STEPS = 1 << 53
"""Up to here a step is exact as a float, as the charts need it."""
SWEEPING = {"sweep", "sweep_part", "sweep_progress", "cell", "sweep_end", "checkpoint"}


@dataclass(frozen=True)
class LogEntry:
    """A line of the log: the time in seconds since 1970, the kind of event, and what it says."""

    t: float
    kind: str
    text: str


class ProgressSample(NamedTuple):
    """A step, the share in [0, 1] of the training's work that was done after it, and the seconds at work until then."""

    step: int
    share: float
    elapsed: float


class History:
    """All that the panes show. A `resume` forgets what the run does again."""

    def __init__(self) -> None:
        self.run: Row = {}
        self.cost: Row = {}
        self.series = MetricHistory()
        self.recent = RecentSteps(RECENT)
        self.validations = MetricHistory(1024)
        self.epochs: deque[Row] = deque(maxlen=EPOCHS)
        self.tests: dict[str, Row] = {}
        self.entries: deque[LogEntry] = deque(maxlen=ENTRIES)
        self.checkpoint: Row = {}
        self.last: Row = {}
        self.end: Row | None = None
        self.sweep = SweepProgress()
        self.status = StatusTracker()
        self.other_schema: int | None = None
        self.not_numbers = 0
        self.elapsed = 0.0
        self.times: deque[ProgressSample] = deque(maxlen=SPEED_ROWS)
        self._clock: float | None = None
        self._steps: list[Row] = []
        self._offsets: list[int] = []

    def extend(self, lines: Sequence[Line]) -> None:
        """Take rows in the journal's order."""
        for offset, row in lines:
            try:
                self._take(offset, row)
            except MALFORMED:
                self.entries.append(
                    LogEntry(self._clock or 0.0, "warn", f"a line that this afdctl cannot read: {row['event']}")
                )
        self._flush()

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe of the run, empty before its first row."""
        recipe = self.run.get("recipe")
        return recipe if isinstance(recipe, dict) else {}

    def table(self, key: str) -> dict[str, Any]:
        """A table of the recipe, empty where a journal has none."""
        value = self.recipe.get(key)
        return value if isinstance(value, dict) else {}

    @property
    def step(self) -> int:
        return int(self.last.get("step") or 0)

    @property
    def steps_total(self) -> int:
        return int(self.run.get("steps_total") or 0)

    @property
    def epoch(self) -> int:
        return int(self.last.get("epoch") or 0)

    @property
    def steps_per_second(self) -> float | None:
        """Over the last steps, with the validations between them."""
        if len(self.times) < 2:
            return None
        (first, _, since), (last, _, until) = self.times[0], self.times[-1]
        return (last - first) / (until - since) if until > since and last > first else None

    @property
    def utilisation(self) -> float | None:
        """The present FLOP/s over those of a matrix product; None where the journal does not tell what a step costs."""
        images, batch = self.last.get("images_per_s"), self.cost.get("batch_size")
        floor = self.cost.get("floor_seconds")
        if not (
            isinstance(images, int | float) and isinstance(floor, int | float) and isinstance(batch, int) and batch
        ):
            return None
        return floor * self._share_of_a_full_step() * images / batch

    @property
    def seconds_between_writes(self) -> float:
        """The usual time between two rows of steps that were written apart; 0 where it is not known."""
        if len(self.times) < 2:
            return 0.0
        return (self.times[-1].elapsed - self.times[0].elapsed) / (len(self.times) - 1)

    @property
    def seconds_left(self) -> float | None:
        """To the last step, at the pace of the last ones: later steps may be dearer, which the trainer counted."""
        if len(self.times) < 2:
            return None
        (_, first, since), (_, last, until) = self.times[0], self.times[-1]
        return (1 - last) * (until - since) / (last - first) if until > since and 1 >= last > first else None

    def _share_of_a_full_step(self) -> float:
        """The FLOP of the last step over those with all attack steps: a schedule may begin with fewer."""
        now, full = self.last.get("attack_steps"), self.table("attack").get("steps")
        each, flop = self.cost.get("attack_step_flop"), self.cost.get("flop")
        if not (isinstance(now, int) and isinstance(full, int) and isinstance(each, int) and isinstance(flop, dict)):
            return 1.0
        return 1 - (full - now) * each / float(sum(flop.values()))

    def _take(self, offset: int, row: Row) -> None:
        if self.other_schema:
            # what its rows mean is not known here
            return
        text = log_entries.entry(row)
        self._tick(row)
        self.status.take(row)
        match row["event"]:
            case "step":
                self._step(offset, row)
            case "cost":
                self.cost = row
            case "epoch":
                self._epoch(offset, row)
            case "run":
                self._begin(row)
            case "resume":
                self._resume(row)
            case "test":
                self.tests[str(row["checkpoint"])] = row
            case "end":
                self.end = row
            case event if event in SWEEPING:
                self.sweep.take(row)
                if event == "checkpoint":
                    self.checkpoint = row
        if text:
            self.entries.append(LogEntry(float(row.get("t") or 0.0), *text))

    def _tick(self, row: Row) -> None:
        """Count the time that the run was at work: clocks jump, and between an end and a resume nothing happens."""
        t = row.get("t")
        if not isinstance(t, int | float):
            return
        if self._clock is not None and row["event"] != "resume" and self.end is None:
            self.elapsed += max(0.0, t - self._clock)
        self._clock = float(t)

    def _begin(self, row: Row) -> None:
        if isinstance(schema := row.get("schema"), int) and schema != SCHEMA:
            self.other_schema = schema
        else:
            self.run = row

    def _resume(self, row: Row) -> None:
        self._flush()
        step, epoch = int(row["step"]), int(row["epoch"])
        self.run = self.run | {key: row[key] for key in ("epochs", "steps_per_epoch", "steps_total") if key in row}
        self.series.cut(step)
        self.recent.cut(step)
        self.validations.cut(epoch)
        while self.epochs and self.epochs[-1]["epoch"] > epoch:
            self.epochs.pop()
        self.tests.clear()
        self.sweep.resume(row)
        self.times.clear()
        self.end = None
        self.last = {**self.last, "step": step, "epoch": epoch}

    def _step(self, offset: int, row: Row) -> None:
        step = int(row["step"])
        row["elapsed"] = self.elapsed
        self.not_numbers += list(row.values()).count(None)
        self.last = row
        self.end = None
        if not 0 < step < MOST_STEPS:
            raise ValueError("steps are counted from 1")
        # ten steps have one time: their batch's
        if self.times and self.times[-1].elapsed == self.elapsed:
            self.times.pop()
        share = row.get("progress", step / max(self.steps_total, 1))
        self.times.append(ProgressSample(step, float(share), self.elapsed))
        self._steps.append(row)
        self._offsets.append(offset)

    def _epoch(self, offset: int, row: Row) -> None:
        epoch = int(row["epoch"])
        if epoch > 0 and "acc_nat" in row:
            accuracies = {name: float(row[name]) for name in ACCURACIES if name in row}
            self.validations.extend([{"step": epoch, **accuracies, "elapsed": self.elapsed}], [offset])
        self.epochs.append(row | {"elapsed": self.elapsed})

    def _flush(self) -> None:
        """Put the collected steps into the series."""
        if self._steps:
            self.series.extend(self._steps, self._offsets)
            self.recent.extend(self._steps[-RECENT // 2 :], self._offsets[-RECENT // 2 :])
            self._steps, self._offsets = [], []

    def best_epoch(self) -> Row | None:
        """The last epoch that was the best one, as the trainer chooses."""
        return next((row for row in reversed(self.epochs) if row.get("best")), None)

    def elapsed_at(self, step: int) -> float | None:
        """The seconds at work until a step, as near as it is known."""
        series = self.recent if self.recent.length and step > self.recent.base else self.series
        if not series.length or "elapsed" not in series.names:
            return None
        place = min(series.length - 1, max(0, (step - 1 - series.base) // series.width))
        return float(series.mean("elapsed")[place])
