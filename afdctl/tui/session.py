"""What a dashboard looks at: the runs, the one in front, what is known of the machine; it makes the facts."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from afdctl.tui.drawing.palette import COMPARED
from afdctl.tui.panes import health
from afdctl.tui.snapshot import ComparedRun, Snapshot
from afdctl.tui.state.follower import RunFollower, output
from afdctl.tui.state.history import LogEntry
from afdctl.tui.state.replay import Replay
from afdctl.tui.state.system import System, SystemMonitor
from afdctl.tui.view import View

SLOW_SECONDS = 2.0
POLL_SECONDS = 0.08
"""How long a long journal is read before keys are listened to again."""
NOTES = 50


@dataclass(frozen=True)
class Options:
    """How a dashboard was called: `owner` started the training, `served` shows it in a browser."""

    read_only: bool = False
    owner: bool = False
    served: bool = False
    replay: float | None = None
    others: Sequence[Path] = ()


class Session:
    """The runs that are shown. The first one is in front; a run that has not begun waits for its turn."""

    def __init__(self, paths: Sequence[Path], options: Options) -> None:
        self.options = options
        self.runs = [Replay(path, options.replay) if options.replay else RunFollower(path) for path in paths]
        self.compared: list[RunFollower] = [] if options.owner or len(paths) < 2 else list(self.runs)
        self.front: RunFollower = self.runs[0]
        self.notes: deque[LogEntry] = deque(maxlen=NOTES)
        self._probe: SystemMonitor | None = None
        self._system = System()
        self._levels: dict[str, str] = {}
        self.slow_due = 0.0
        self._output: list[str] = []
        self._checkpoint_bytes = 0.0

    def open(self) -> None:
        """Read enough of each run for a first picture."""
        for run in {id(run): run for run in [*self.compared, self.front]}.values():
            run.open()

    def poll(self, view: View) -> bool:
        """Read on; whether anything is new."""
        share = POLL_SECONDS / max(1, len(self.compared))
        # each of them, also behind the first that has something new
        new = sum(run.poll(share) for run in self.compared or [self.front]) > 0
        new = self._next_seed() or new
        if time.monotonic() >= self.slow_due:
            self._slowly(view)
            new = True
        return new

    def _next_seed(self) -> bool:
        """Go on to the next run of the same training when the one in front is over."""
        if not self.options.owner or not self.front.state.over:
            return False
        place = self.runs.index(self.front) + 1
        if place < len(self.runs) and self.runs[place].journal.exists():
            self.front = self.runs[place]
            self.front.open()
            self._levels.clear()
            return True
        return False

    def _slowly(self, view: View) -> None:
        """What need not be known four times a second."""
        self.slow_due = time.monotonic() + SLOW_SECONDS
        # not before the first picture: asking for GPUs takes a while where there are none
        self._probe = self._probe or SystemMonitor()
        self._system = self._probe.look(self.front.path.parent, self.front.local_pid)
        self.read_output(view)
        file = self.front.history.checkpoint.get("file")
        if file:
            try:
                self._checkpoint_bytes = float((self.front.path / "checkpoints" / str(file)).stat().st_size)
            except OSError:
                self._checkpoint_bytes = 0.0
        self._alarm()

    def read_output(self, view: View) -> None:
        """Look at what the trainer printed, while that is shown."""
        if view.log == "output":
            self._output = output(self.front.path)

    def _alarm(self) -> None:
        """Note each check that became worse."""
        if self.front.state.over:
            return
        for check in health.checks(self.front.history):
            if check.level in ("warn", "bad") and self._levels.get(check.name, "ok") != check.level:
                self.note(f"{check.name} {check.value}: {check.word}", "warn")
            self._levels[check.name] = check.level

    def note(self, text: str, kind: str = "note") -> None:
        """Put a line of the dashboard's own into the log."""
        self.notes.append(LogEntry(time.time(), kind, text))

    def facts(self, view: View) -> Snapshot:
        """This moment."""
        front = self.front
        if isinstance(front, Replay):
            words = f"replay x{front.speed:g}" + ("" if front.playing else ", paused")
        return Snapshot(
            front.name,
            front.path,
            front.history,
            front.state,
            view,
            self._system,
            time.time(),
            front.pid,
            front.share,
            front.damaged,
            self.others(),
            self.options.read_only,
            self.options.owner,
            words if isinstance(front, Replay) else "",
            tuple(self.notes),
            self._output,
            self._checkpoint_bytes,
            self.options.served,
            host=front.remote_host,
        )

    def others(self) -> list[ComparedRun]:
        """The compared runs, none where there is only one."""
        if len(self.compared) < 2:
            return []
        return [
            ComparedRun(
                run.name,
                run.history,
                run.state,
                COMPARED[place % len(COMPARED)],
                "abcdefghijklmnopqrstuvwxyz"[place % 26],
            )
            for place, run in enumerate(self.compared)
        ]

    def neighbours(self) -> list[Path]:
        """The runs beside the one in front, itself first."""
        found = sorted(file.parent for file in self.front.path.parent.glob("*/run.json"))
        return [self.front.path, *(path for path in found if path.resolve() != self.front.path.resolve())]

    def compare(self, paths: Sequence[Path]) -> None:
        """Show these runs together; one or none ends it."""
        known = {run.path.resolve(): run for run in [self.front, *self.compared]}
        self.compared = []
        for path in paths if len(paths) > 1 else ():
            run = known.get(path.resolve())
            if run is None:
                run = RunFollower(path)
                run.open()
            self.compared.append(run)
