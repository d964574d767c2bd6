"""The condition of a run: its status, and the rows that its journal has lost.

The status is one word for `runs ls`, `runs show`, the dashboard and the report, derived from the journal. Lost rows are
detected by comparing the journal with checkpoints and results.h5.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from afdctl.journal import JournalOutline
from afdctl.runs import checkpoints
from afdctl.runs.run import KEPT, Run

# Statuses of runs whose journal cannot be read.
DAMAGED: Final = "damaged"
OTHER_VERSION: Final = "other version"

_TRAINING: Final = frozenset({"run", "resume", "step"})
_ANALYSIS: Final = frozenset({"features", "analysis"})
_DECIDING: Final = _TRAINING | {"end", "sweep", "sweep_end"}


class StatusTracker:
    """Takes the rows of a journal in order; `status` is what the last ones mean.

    starting, training, testing, sweeping, analyzing: a process writes the run. not started, crashed, sweep crashed: the
    process ended without an end row. finished, stopped, diverged, failed: how the training ended. swept, sweep stopped,
    sweep failed: how the sweep after it ended.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._event: str | None = None
        self._reason = ""
        self._step = self._steps_total = 0
        self._analyzing = False
        for row in rows:
            self.take(row)

    def take(self, row: Mapping[str, Any]) -> None:
        """Take the next row. Errors: KeyError, TypeError, ValueError for a malformed one."""
        event = row["event"]
        self._analyzing = event in _ANALYSIS
        if event not in _DECIDING:
            return
        if event in _TRAINING:
            self._step = int(row.get("step") or 0)
        if event in ("run", "resume"):
            self._steps_total = int(row.get("steps_total") or 0)
        self._event, self._reason = event, str(row.get("reason"))

    @property
    def has_ended(self) -> bool:
        """Whether the last row is an end: of the training or of a sweep."""
        return self._event in ("end", "sweep_end") and not self._analyzing

    def status(self, *, is_written: bool) -> str:
        """Return the status; `is_written` says whether a process writes the journal."""
        event, reason = self._event, self._reason
        if is_written and self._analyzing:
            return "analyzing"
        if event is None:
            return "starting" if is_written else "not started"
        if event == "sweep":
            return "sweeping" if is_written else "sweep crashed"
        if event in _TRAINING:
            if not is_written:
                return "crashed"
            return "testing" if 0 < self._steps_total <= self._step else "training"
        # the process that wrote an end takes a moment to exit
        if event == "end":
            return reason
        return "swept" if reason == "finished" else f"sweep {reason}"


@dataclass(frozen=True)
class RecordedProgress:
    """How far a journal had come when other files were made from it: step, epochs (None: unknown), size in bytes.

    Another process may write the run meanwhile. Rows are only ever appended, and checkpoints and results.h5 are made
    from rows, so these must be read before the journal.
    """

    run: Run
    step: int
    epoch: int | None
    size: int

    @classmethod
    def of(cls, run: Run, step: int | None = None, epoch: int | None = None) -> Self:
        """Read results.h5 and, without `step`, the pointer `last`. Call it before the journal is read."""
        return cls(
            run=run,
            step=checkpoints.last_step(run) if step is None else step,
            epoch=epoch,
            size=run.results_journal_size,
        )

    def gaps(self, outline: JournalOutline | None) -> list[str]:
        """Return a sentence for each kind of rows that the journal lacks, usually none; `outline` was read later."""
        journal = self.run.journal_path
        if outline is None:
            return [f"{journal}: missing; restore it from a copy"] if self.step or self.size else []
        step = max((row["step"] for row in outline.rows if isinstance(row.get("step"), int)), default=0)
        epoch = max((row["epoch"] for row in outline.rows if row["event"] == "epoch"), default=0)
        lost = f"{journal}: its last rows are missing:"
        remedy = "restore the file from a copy, or continue without these rows"
        gaps = []
        if step < self.step:
            gaps.append(f"{lost} it ends at step {step:,}, the checkpoint is of step {self.step:,}; {remedy}")
        elif self.epoch is not None and epoch < self.epoch:
            gaps.append(
                f"{lost} it ends in epoch {epoch + 1}, the checkpoint is of the end of epoch {self.epoch}; {remedy}"
            )
        if outline.end < self.size:
            gaps.append(
                f"{lost} it has {outline.end:,} bytes, results.h5 was made from {self.size:,}; {remedy} (results.h5 "
                f"has them, and is kept as {KEPT.format(size=self.size)} when it is rebuilt)"
            )
        return gaps + [
            f"{path}: has rows that events.ndjson has lost; look at it, then delete it"
            for path in sorted(self.run.path.glob(KEPT.format(size="*")))
        ]


def lost_rows(run: Run, step: int | None = None, epoch: int | None = None) -> list[str]:
    """Return a sentence for each kind of rows that a run's journal has lost. Errors: those of `JournalOutline`.

    `step` and `epoch` are those of a checkpoint, by default the one that `last` names.
    """
    progress = RecordedProgress.of(run, step, epoch)
    return progress.gaps(JournalOutline(run.journal_path) if run.journal_path.exists() else None)
