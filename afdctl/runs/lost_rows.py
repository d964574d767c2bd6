"""Detect that a journal has lost rows at its end, by comparing it with checkpoints and results.h5.

Another process may write the run meanwhile. Rows are only ever appended, and checkpoints and results.h5 are made from
rows, so these must be read before the journal.
"""

from dataclasses import dataclass
from typing import Self

from afdctl.journal import JournalOutline
from afdctl.runs import checkpoints
from afdctl.runs.kept_results import KEPT, journal_size_of
from afdctl.runs.run import Run


@dataclass(frozen=True)
class RecordedProgress:
    """How far a journal had come when other files were made from it: step, epochs (None: unknown), size in bytes."""

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
            size=journal_size_of(run.results_path),
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
