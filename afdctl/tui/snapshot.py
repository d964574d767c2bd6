"""One moment of a run as the panes see it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from afdctl.tui.state.history import History, LogEntry
from afdctl.tui.state.status import State
from afdctl.tui.state.system import System
from afdctl.tui.view import View


@dataclass(frozen=True)
class ComparedRun:
    """A run to compare with: its colour and letter are the same wherever it is shown."""

    name: str
    history: History
    state: State
    colour: str
    letter: str


@dataclass(frozen=True)
class Snapshot:
    """The run, how it does, the machine, the settings; `share` of the journal has been read."""

    name: str
    path: Path
    history: History
    state: State
    view: View
    system: System
    now: float
    pid: int | None = None
    share: float = 1.0
    damaged: int = 0
    others: Sequence[ComparedRun] = ()
    read_only: bool = False
    owner: bool = False
    replay: str = ""
    notes: Sequence[LogEntry] = ()
    output: Sequence[str] = field(default=())
    checkpoint_bytes: float = 0.0
    served: bool = False
    # of the process that writes the journal, where that is another host
    host: str = ""

    @property
    def shows_sweep(self) -> bool:
        """Whether attacks are shown instead of the training: by the key, or as the newer part of a single run."""
        if not self.history.sweep.cells:
            return False
        newer = bool(self.history.sweep.plan) and not self.others
        return newer if self.view.sweep is None else self.view.sweep
