"""The history and the speed of a run, from the rows of its journal in memory that does not grow with the run."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from afdctl import registry
from afdctl.descriptors import DefenseDescriptor
from afdctl.journal import SCHEMA, Line, Row
from afdctl.runs.metric_history import MetricHistory, RecentSteps
from afdctl.runs.status import StatusTracker
from afdctl.tui.state.log_entries import LogEntry, log_entry
from afdctl.tui.state.rates import Rates
from afdctl.tui.state.sweep import SweepProgress

# what a row with missing or wrong fields raises where it is used
MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
RECENT_STEPS = 12288
VALIDATIONS = 1024
MAX_ENTRIES = 2000
MAX_EPOCHS = 10000
ACCURACIES = ("acc_nat", "acc_adv", "acc_probe")
# the largest step that a float represents exactly, as the charts need it
MAX_STEP = 1 << 53
SWEEP_EVENTS = {"sweep", "sweep_block", "sweep_progress", "cell", "sweep_end", "checkpoint"}


class History:
    """All that the panes show of a run. A `resume` removes the steps that are done again."""

    def __init__(self) -> None:
        self.run: Row = {}
        self.cost: Row = {}
        self.series = MetricHistory()
        self.recent = RecentSteps(RECENT_STEPS)
        self.validations = MetricHistory(VALIDATIONS)
        self.epochs: deque[Row] = deque(maxlen=MAX_EPOCHS)
        self.tests: dict[str, Row] = {}
        self.alarms: deque[Row] = deque(maxlen=MAX_EPOCHS)
        self.entries: deque[LogEntry] = deque(maxlen=MAX_ENTRIES)
        self.checkpoint: Row = {}
        self.last: Row = {}
        self.end: Row | None = None
        self.sweep = SweepProgress()
        self.status = StatusTracker()
        self.other_schema: int | None = None
        self.not_finite = 0
        self.elapsed = 0.0
        self.rates = Rates()
        self._clock: float | None = None
        self._steps: list[Row] = []
        self._offsets: list[int] = []

    def extend(self, lines: Sequence[Line]) -> None:
        """Add rows in the journal's order."""
        for offset, row in lines:
            try:
                self._add(offset, row)
            except MALFORMED:
                text = f"a line that this afdctl cannot read: {row['event']}"
                self.entries.append(LogEntry(self._clock or 0.0, "warn", text))
        self._flush()

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe of the run; empty before the first row."""
        recipe = self.run.get("recipe")
        return recipe if isinstance(recipe, dict) else {}

    def table(self, key: str) -> dict[str, Any]:
        """Return a table of the recipe; empty where there is none."""
        value = self.recipe.get(key)
        return value if isinstance(value, dict) else {}

    @property
    def defense(self) -> DefenseDescriptor:
        """What is known of the defense; of a user's, what the run recorded."""
        name = str(self.table("defense").get("name"))
        return registry.describe(registry.DEFENSES, name, self._user_code("defense"))

    @property
    def dataset(self) -> str:
        """The name of the data set; the label of a user's own."""
        return str(self._user_code("data").get("label") or self.table("data").get("dataset"))

    def _user_code(self, table: str) -> dict[str, Any]:
        value = self.table("user_code").get(table)
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

    def _add(self, offset: int, row: Row) -> None:
        if self.other_schema:
            # the meaning of its rows is unknown
            return
        # first: it raises for a row with missing fields before anything has changed
        entry = log_entry(row)
        self._update_clock(row)
        self.status.take(row)
        match row["event"]:
            case "step":
                self._add_step(offset, row)
            case "cost":
                self.cost = row
            case "epoch":
                self._add_epoch(offset, row)
            case "run":
                self._start(row)
            case "resume":
                self._resume(row)
            case "alarm":
                self.alarms.append(row)
            case "test":
                self.tests[str(row["checkpoint"])] = row
            case "end":
                self.end = row
            case event if event in SWEEP_EVENTS:
                self.sweep.add(row)
                if event == "checkpoint":
                    self.checkpoint = row
        if entry:
            self.entries.append(entry)

    def _update_clock(self, row: Row) -> None:
        """Count training time: without clocks that jump back, and without the time between an end and a resume."""
        t = row.get("t")
        if not isinstance(t, int | float):
            return
        if self._clock is not None and row["event"] != "resume" and self.end is None:
            self.elapsed += max(0.0, t - self._clock)
        self._clock = float(t)

    def _start(self, row: Row) -> None:
        if isinstance(schema := row.get("schema"), int) and schema != SCHEMA:
            self.other_schema = schema
        else:
            self.run = row

    def _resume(self, row: Row) -> None:
        # the steps to be cut must be in the series
        self._flush()
        step, epoch = int(row["step"]), int(row["epoch"])
        self.run = self.run | {key: row[key] for key in ("epochs", "steps_per_epoch", "steps_total") if key in row}
        self.series.cut(step)
        self.recent.cut(step)
        self.validations.cut(epoch)
        while self.epochs and self.epochs[-1]["epoch"] > epoch:
            self.epochs.pop()
        while self.alarms and self.alarms[-1]["step"] > step:
            self.alarms.pop()
        # the training ends again, with tests of its new checkpoints
        self.tests.clear()
        self.sweep.resume(row)
        self.rates.clear()
        self.end = None
        self.last = {**self.last, "step": step, "epoch": epoch}

    def _add_step(self, offset: int, row: Row) -> None:
        step = int(row["step"])
        row["elapsed"] = self.elapsed
        self.not_finite += list(row.values()).count(None)
        self.last = row
        self.end = None
        if not 0 < step < MAX_STEP:
            raise ValueError("steps are counted from 1")
        self.rates.add(step, float(row.get("progress", step / max(self.steps_total, 1))), self.elapsed)
        self._steps.append(row)
        self._offsets.append(offset)

    def _add_epoch(self, offset: int, row: Row) -> None:
        epoch = int(row["epoch"])
        if epoch > 0 and "acc_nat" in row:
            accuracies = {name: float(row[name]) for name in ACCURACIES if name in row}
            self.validations.extend([{"step": epoch, **accuracies, "elapsed": self.elapsed}], [offset])
        # also without a validation: a replay moves by epochs
        self.epochs.append(row | {"elapsed": self.elapsed})

    def _flush(self) -> None:
        """Add the collected steps to the series."""
        if self._steps:
            self.series.extend(self._steps, self._offsets)
            self.recent.extend(self._steps[-RECENT_STEPS // 2 :], self._offsets[-RECENT_STEPS // 2 :])
            self._steps, self._offsets = [], []

    def best_epoch(self) -> Row | None:
        """Return the last epoch that the trainer marked as the best."""
        return next((row for row in reversed(self.epochs) if row.get("best")), None)

    def elapsed_at(self, step: int) -> float | None:
        """Return the training time until a step, in seconds, from the nearest bucket."""
        series = self.recent if self.recent.length and step > self.recent.base else self.series
        if not series.length or "elapsed" not in series.names:
            return None
        place = min(series.length - 1, max(0, (step - 1 - series.base) // series.width))
        return float(series.mean("elapsed")[place])
