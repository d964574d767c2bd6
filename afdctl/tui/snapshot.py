"""One moment of a run, as the panes draw it."""

from collections.abc import Sequence
from dataclasses import dataclass

from afdctl.tui.state.history import History
from afdctl.tui.state.log_entries import LogEntry
from afdctl.tui.state.status import State
from afdctl.tui.state.system import System
from afdctl.tui.view import View


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A run in a comparison. Its colour and letter are the same in every pane."""

    name: str
    history: History
    state: State
    colour: str
    letter: str


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The run, its state, the machine and the view. `share` in [0, 1] of the journal has been read."""

    name: str
    history: History
    state: State
    view: View
    system: System
    pid: int | None = None
    share: float = 1.0
    damaged: int = 0
    others: Sequence[ComparedRun] = ()
    read_only: bool = False
    owner: bool = False
    replay: str = ""
    notes: Sequence[LogEntry] = ()
    output: Sequence[str] = ()
    checkpoint_bytes: float = 0.0
    served: bool = False
    # of the process that writes the journal, where that is another host
    host: str = ""

    @property
    def shows_sweep(self) -> bool:
        """Whether attacks are shown instead of the training: by key v, or because they are the newer part."""
        if not self.history.sweep.cells:
            return False
        newer = bool(self.history.sweep.plan) and not self.others
        return newer if self.view.sweep is None else self.view.sweep
