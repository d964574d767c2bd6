"""The history and the status of a run, built from the rows of its journal in memory that does not grow with the run."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from afdctl.formatting import format_duration
from afdctl.journal import SCHEMA, Line, Row
from afdctl.runs.metric_history import MetricHistory, RecentSteps
from afdctl.runs.summary import OTHER_VERSION, StatusTracker
from afdctl.tui.state.log_entries import LogEntry, log_entry
from afdctl.tui.state.rates import Rates, compute_utilisation
from afdctl.tui.state.sweep import SweepProgress

# what a row with missing or wrong fields raises where it is used
MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
RECENT_STEPS = 12288
VALIDATIONS = 1024
MAX_ENTRIES = 2000
MAX_EPOCHS = 10000
ACCURACIES = ("acc_nat", "acc_adv", "acc_square")
# the largest step that a float represents exactly, as the charts need it
MAX_STEP = 1 << 53
SWEEP_EVENTS = {"sweep", "sweep_block", "sweep_progress", "cell", "sweep_end", "checkpoint"}
# A trainer is quiet if it has written nothing for this long and for this many of its usual pauses.
QUIET_SECONDS: Final = 30.0
QUIET_PAUSES: Final = 5
# Mark and colour of each status; the others have ended badly.
STYLES: Final = {
    OTHER_VERSION: ("?", "warn"),
    "not started": ("◌", "bad"),
    "starting": ("◌", "warn"),
    "training": ("●", "good"),
    "testing": ("●", "good"),
    "sweeping": ("●", "good"),
    "analyzing": ("●", "good"),
    "finished": ("✔", "good"),
    "swept": ("✔", "good"),
    "stopped": ("■", "warn"),
    "sweep stopped": ("■", "warn"),
}


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
    def step(self) -> int:
        return int(self.last.get("step") or 0)

    @property
    def steps_total(self) -> int:
        return int(self.run.get("steps_total") or 0)

    @property
    def epoch(self) -> int:
        return int(self.last.get("epoch") or 0)

    @property
    def utilisation(self) -> float | None:
        """FLOP/s relative to a matrix product on this machine."""
        return compute_utilisation(self.last, self.cost, self.table("attack"))

    def _add(self, offset: int, row: Row) -> None:
        if self.other_schema:
            # the meaning of its rows is unknown
            return
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


@dataclass(frozen=True)
class State:
    """A word, the mark before it, and the role of its colour. `over`: no process writes the journal."""

    word: str
    mark: str
    colour: str
    over: bool = False


def state(history: History, is_written: bool, *, gone: str = "", quiet: float = 0.0, replayed: bool = False) -> State:
    """Return the state to show.

    `gone` is why nothing can be read; nothing was written for `quiet` seconds; `replayed` is true for a replay.
    """
    if gone:
        return State(gone, "✖", "bad", over=True)
    if replayed and not history.other_schema:
        return State("replay", "▶", "d_hdh")
    word = OTHER_VERSION if history.other_schema else history.status.status(is_written=is_written)
    if word == "training" and quiet > max(QUIET_SECONDS, QUIET_PAUSES * history.rates.seconds_between_writes):
        # a trainer that hangs must not look like one that trains; tests and attacks write nothing for long
        return State(f"quiet {format_duration(quiet)}", "?", "warn")
    mark, colour = STYLES.get(word, ("✖", "bad"))
    # the process that wrote the last row takes a moment to exit
    return State(word, mark, colour, over=not is_written or history.status.has_ended)
