"""The runs of a grid's cells, as their folders show them; starts without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from afdctl.errors import BusyError, DivergedError
from afdctl.recipe.grid import Cell
from afdctl.runs.folders import name_stem, never_trained
from afdctl.runs.run import Run
from afdctl.runs.summary import quick_summary

FINISHED: Final = "finished"
DIVERGED: Final = "diverged"
BUSY: Final = "busy"
FAILED: Final = "failed"
STOPPED: Final = "stopped"


@dataclass(frozen=True)
class CellRun:
    """A cell, and the run that it names in a folder of runs."""

    cell: Cell
    run: Run

    @classmethod
    def of(cls, cell: Cell, root: Path, recipe: str) -> Self:
        return cls(cell, Run(root / f"{name_stem(Path(recipe).stem)}-{cell.digest}"))

    def status(self) -> dict[str, Any]:
        """Return what `--dry-run` shows of the cell. `done` says whether a training is left out."""
        shown = {"settings": dict(self.cell.settings), "name": self.run.name, "path": str(self.run.path)}
        if not self.run.path.exists() or never_trained(self.run.path):
            return shown | {
                "state": "not started",
                "epoch": None,
                "epochs": self.cell.recipe.train.epochs,
                "done": False,
            }
        summary, _ = quick_summary(self.run)
        done = bool(end_of(self.run))
        return shown | {"state": summary.state, "epoch": summary.epoch, "epochs": summary.epochs, "done": done}


@dataclass(frozen=True)
class Outcome:
    """How a cell ended: `finished`, `diverged`, `busy` (another process writes it), `stopped` or `failed`; and why."""

    word: str
    exit_code: int = 0
    message: str = ""
    trained: bool = False


def end_of(run: Run) -> Outcome | None:
    """Return how a run's training ended for good; None if something is left to train.

    A diverged training ends for good too: trained again from its last checkpoint it diverges again.
    """
    if not run.exists:
        return None
    from afdctl.journal import JournalCache

    ends = JournalCache.of(run.journal_path).of_event("resume", "end")
    reason = ends[-1].get("reason") if ends else None
    if reason == FINISHED:
        return Outcome(FINISHED)
    if reason == DIVERGED:
        return Outcome(DIVERGED, DivergedError.exit_code, str(ends[-1].get("message")))
    return None


def first_failure(outcomes: Sequence[Outcome]) -> int:
    """Return the exit code of the first cell that failed, else that of one that another process trains, else 0."""
    codes = [outcome.exit_code for outcome in outcomes if outcome.exit_code]
    return next((code for code in codes if code != BusyError.exit_code), codes[0] if codes else 0)
