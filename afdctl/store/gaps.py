"""What a journal has lost at its end since its checkpoints and results.h5 were written."""

from contextlib import suppress
from pathlib import Path

import h5py

from afdctl.store import checkpoints
from afdctl.store.outline import Outline
from afdctl.store.run import Run

KEPT = "results-{offset}.h5"


def lost_tail(run: Run, step: int | None = None, epoch: int | None = None) -> list[str]:
    """Compare the journal's end with a checkpoint and results.h5; return a sentence for each gap, usually none.

    The checkpoint is of `step` and of `epoch` closed epochs, by default the one that `last` names. Errors: those of
    `Outline`.
    """
    rows = Outline(run.journal_path).rows if run.journal_path.exists() else []
    step = checkpoints.last_step(run) if step is None else step
    gaps = []
    reached = max((row["step"] for row in rows if isinstance(row.get("step"), int)), default=0)
    closed = max((row["epoch"] for row in rows if row["event"] == "epoch"), default=0)
    lost = f"{run.journal_path}: its last rows are missing:"
    remedy = "restore the file from a copy, or go on without these rows"
    if reached < step:
        gaps.append(f"{lost} it ends at step {reached:,}, the checkpoint is of step {step:,}; {remedy}")
    elif epoch is not None and closed < epoch:
        gaps.append(f"{lost} it ends in epoch {closed + 1}, the checkpoint is of the end of epoch {epoch}; {remedy}")
    size = run.journal_path.stat().st_size if run.journal_path.exists() else 0
    if (offset := _offset(run.results_path)) > size:
        kept = KEPT.format(offset=offset)
        gaps.append(
            f"{lost} it has {size:,} bytes, results.h5 was made from {offset:,}; {remedy} (results.h5 has them, and is "
            f"kept as {kept} when it is made again)"
        )
    gaps += [f"{path}: has rows that events.ndjson has lost" for path in sorted(run.path.glob(KEPT.format(offset="*")))]
    return gaps


def keep_lost_rows(run: Run, offset: int) -> None:
    """Set results.h5 aside where it was made from more of the journal than the `offset` bytes that are there now."""
    if (before := _offset(run.results_path)) > offset:
        run.results_path.replace(run.path / KEPT.format(offset=before))


def _offset(results: Path) -> int:
    """How many bytes of the journal a results.h5 was made from; 0 where it is missing or damaged."""
    with suppress(OSError, KeyError), h5py.File(results) as file:
        return int(file.attrs["log_offset"])
    return 0
