"""What a journal has lost at its end since its checkpoints and results.h5 were written.

A trainer or a sweep may be at work meanwhile. Checkpoints and results.h5 are made from rows of the journal, and rows
are only added, so whatever is compared with the journal must be read before it.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from afdctl.runs import checkpoints
from afdctl.runs.journal_reader import JournalOutline
from afdctl.runs.run import Run

KEPT = "results-{offset}.h5"


@dataclass(frozen=True)
class Reached:
    """How far a journal had come, by the files that were made from it: step, closed epochs (None: any), bytes."""

    run: Run
    step: int
    epoch: int | None
    size: int

    @classmethod
    def of(cls, run: Run, step: int | None = None, epoch: int | None = None) -> Self:
        """Read what a checkpoint (by default the one that `last` names) and results.h5 know; call it first."""
        return cls(run, checkpoints.last_step(run) if step is None else step, epoch, made_from(run.results_path))

    def lost(self, outline: JournalOutline | None) -> list[str]:
        """Return a sentence for each gap between these and the journal that was read later, usually none."""
        if outline is None:
            return [f"{self.run.journal_path}: missing; restore it from a copy"] if self.step or self.size else []
        rows, size = outline.rows, outline.end
        gaps = []
        reached = max((row["step"] for row in rows if isinstance(row.get("step"), int)), default=0)
        closed = max((row["epoch"] for row in rows if row["event"] == "epoch"), default=0)
        lost = f"{self.run.journal_path}: its last rows are missing:"
        remedy = "restore the file from a copy, or go on without these rows"
        if reached < self.step:
            gaps.append(f"{lost} it ends at step {reached:,}, the checkpoint is of step {self.step:,}; {remedy}")
        elif self.epoch is not None and closed < self.epoch:
            at = f"it ends in epoch {closed + 1}, the checkpoint is of the end of epoch {self.epoch}"
            gaps.append(f"{lost} {at}; {remedy}")
        if size < self.size:
            gaps.append(
                f"{lost} it has {size:,} bytes, results.h5 was made from {self.size:,}; {remedy} (results.h5 has them, "
                f"and is kept as {KEPT.format(offset=self.size)} when it is made again)"
            )
        return gaps + [
            f"{path}: has rows that events.ndjson has lost; look at it, then delete it"
            for path in sorted(self.run.path.glob(KEPT.format(offset="*")))
        ]


def lost_tail(run: Run, step: int | None = None, epoch: int | None = None) -> list[str]:
    """Compare the journal with a checkpoint and results.h5; return a sentence for each gap. Errors: as of `Outline`."""
    reached = Reached.of(run, step, epoch)
    return reached.lost(JournalOutline(run.journal_path) if run.journal_path.exists() else None)


def keep_lost_rows(run: Run, size: int, end: int) -> None:
    """Set results.h5 aside where it was made from `size` bytes of a journal that later ended at byte `end`."""
    # another process may have set it aside meanwhile
    if size > end and made_from(run.results_path) == size:
        run.results_path.replace(run.path / KEPT.format(offset=size))


def made_from(results: Path) -> int:
    """How many bytes of the journal a results.h5 was made from; 0 where it is missing or damaged."""
    if not results.exists():
        return 0

    import h5py  # it takes longer than all else that lists runs

    with suppress(OSError, KeyError), h5py.File(results) as file:
        return int(file.attrs["log_offset"])
    return 0
