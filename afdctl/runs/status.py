"""The status of a run in one word, from the rows of its journal and the process that writes it."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from afdctl.journal import current_writer
from afdctl.runs.record import Record

# Statuses of runs whose journal cannot be read.
DAMAGED: Final = "damaged"
OTHER_VERSION: Final = "other version"
TRAINING: Final = frozenset({"run", "resume", "step"})
_ANALYSIS: Final = frozenset({"features", "analysis"})
_DECIDING: Final = TRAINING | {"end", "sweep", "sweep_end"}


class StatusTracker:
    """Takes the rows of a journal in order; `status` is what the last ones mean.

    starting, training, testing, sweeping, analyzing: a process writes the run; running on HOST: one on another host.
    not started, crashed, sweep crashed: the process ended without an end row. finished, stopped, diverged, failed: how
    the training ended. swept, sweep stopped, sweep failed: how the sweep after it ended.
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
        if event not in _DECIDING:  # such as a warning, which does not show what the process does
            return
        if event in TRAINING:
            self._step = int(row.get("step") or 0)
        if event in ("run", "resume"):
            self._steps_total = int(row.get("steps_total") or 0)
        self._event, self._reason = event, str(row.get("reason"))

    @property
    def has_ended(self) -> bool:
        """Whether the last row ends the training or a sweep."""
        return self._event in ("end", "sweep_end") and not self._analyzing

    def status(self, *, is_written: bool, host: str = "") -> str:
        """Return the status; `is_written` says whether a process writes the journal, `host` on which other host."""
        event = self._event
        if is_written and host and not self.has_ended:
            return f"running on {host}"
        if is_written and self._analyzing:
            return "analyzing"
        if event is None:
            return "starting" if is_written else "not started"
        if event == "sweep":
            return "sweeping" if is_written else "sweep crashed"
        if event in TRAINING:
            if not is_written:
                return "crashed"
            # no event begins the final test; it follows the last step
            return "testing" if 0 < self._steps_total <= self._step else "training"
        # the process that wrote an end takes a moment to exit
        if event == "end":
            return self._reason
        return "swept" if self._reason == "finished" else f"sweep {self._reason}"


def status_of(record: Record) -> str:
    """Return the status of a run: `training`, `finished`, `swept`, ..."""
    if record.lost and not record.rows:
        return DAMAGED
    writer = current_writer(record.run.journal_path)
    return StatusTracker(record.rows).status(is_written=bool(writer), host=writer.elsewhere if writer else "")
