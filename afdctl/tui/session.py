"""The runs that the dashboard shows, and the snapshots that it takes of them."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from afdctl.journal import unreachable
from afdctl.tui.drawing.cells import COMPARED, curve_letter
from afdctl.tui.panes import health
from afdctl.tui.state.follower import RunFollower
from afdctl.tui.state.log_entries import LogEntry
from afdctl.tui.state.replay import Replay
from afdctl.tui.system import System, SystemMonitor
from afdctl.tui.view import ComparedRun, Snapshot, View

SLOW_SECONDS = 2.0
# how long one poll reads a long journal before keys are handled again
POLL_SECONDS = 0.08
MAX_NOTES = 50


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the dashboard was started: by the process that started the training (`owner`), for a browser (`served`)."""

    read_only: bool = False
    owner: bool = False
    served: bool = False
    replay: float | None = None


class Session:
    """The runs on screen. `front` is the run in front; of the owner's runs, the next one follows when it ends."""

    def __init__(self, paths: Sequence[Path], options: Options) -> None:
        self.options = options
        self.runs = [Replay(path, options.replay) if options.replay else RunFollower(path) for path in paths]
        self.compared: list[RunFollower] = [] if options.owner or len(paths) < 2 else list(self.runs)
        self.front: RunFollower = self.runs[0]
        self.notes: deque[LogEntry] = deque(maxlen=MAX_NOTES)
        self.slow_poll_due = 0.0
        self._monitor: SystemMonitor | None = None
        self._system = System()
        # the last level of each health check, so that a change for the worse is noted once
        self._levels: dict[str, str] = {}
        self._output: list[str] = []
        self._checkpoint_bytes = 0.0

    def open(self) -> None:
        """Read enough of each run for a first frame."""
        # the run in front is usually one of the compared
        for run in {id(run): run for run in [*self.compared, self.front]}.values():
            run.open()

    def poll(self, view: View) -> bool:
        """Read what was written since the last call; return whether there is something new to draw."""
        # all runs share the time, or several long journals would delay the keys
        seconds = POLL_SECONDS / max(1, len(self.compared))
        # a sum, as `any` would stop at the first run with news
        changed = sum(run.poll(seconds) for run in self.compared or [self.front]) > 0
        changed = self._open_next_seed() or changed
        if time.monotonic() >= self.slow_poll_due:
            self._poll_slowly(view)
            changed = True
        return changed

    def _open_next_seed(self) -> bool:
        """Put the next run of the same training in front when the one there has ended."""
        if not self.options.owner or not self.front.state.over:
            return False
        place = self.runs.index(self.front) + 1
        if place < len(self.runs) and self.runs[place].journal.exists():
            self.front = self.runs[place]
            self.front.open()
            # what is bad in the next run is noted again
            self._levels.clear()
            return True
        return False

    def _poll_slowly(self, view: View) -> None:
        """Read what changes slowly: the machine, the trainer's output, the checkpoint's size and the health checks."""
        self.slow_poll_due = time.monotonic() + SLOW_SECONDS
        # created after the first frame: on a machine without a GPU, looking for one takes a while
        self._monitor = self._monitor or SystemMonitor()
        self._system = self._monitor.read(self.front.path.parent, self.front.local_pid)
        self.read_output(view)
        file = self.front.history.checkpoint.get("file")
        if file:
            try:
                self._checkpoint_bytes = float((self.front.path / "checkpoints" / str(file)).stat().st_size)
            except OSError:
                self._checkpoint_bytes = 0.0
        self._log_worse_checks()

    def read_output(self, view: View) -> None:
        """Read the end of log.txt, if the view shows it."""
        if view.log == "output":
            self._output = last_output(self.front.path)

    def _log_worse_checks(self) -> None:
        """Add a note for each health check that became worse."""
        if self.front.state.over:
            return
        for check in health.run_checks(self.front.history):
            if check.level in ("warn", "bad") and self._levels.get(check.name, "ok") != check.level:
                self.add_note(f"{check.name} {check.value}: {check.explanation or check.word}", "warn")
            self._levels[check.name] = check.level

    def add_note(self, text: str, kind: str = "note") -> None:
        """Add a line to the log pane that is not in the journal."""
        self.notes.append(LogEntry(time.time(), kind, text))

    def snapshot(self, view: View) -> Snapshot:
        """Return the present state of the run in front."""
        front, replay = self.front, ""
        if isinstance(front, Replay):
            replay = f"replay x{front.speed:g}" + ("" if front.playing else ", paused")
        return Snapshot(
            name=front.name,
            history=front.history,
            state=front.state,
            view=view,
            system=self._system,
            pid=front.pid,
            share=front.share,
            damaged=front.damaged,
            others=self._compared_runs(),
            read_only=self.options.read_only,
            owner=self.options.owner,
            replay=replay,
            notes=tuple(self.notes),
            output=self._output,
            checkpoint_bytes=self._checkpoint_bytes,
            served=self.options.served,
            host=front.remote_host,
        )

    def _compared_runs(self) -> list[ComparedRun]:
        if len(self.compared) < 2:
            return []
        return [
            ComparedRun(
                name=run.name,
                history=run.history,
                state=run.state,
                colour=COMPARED[place % len(COMPARED)],
                letter=curve_letter(place),
            )
            for place, run in enumerate(self.compared)
        ]

    @property
    def unreachable_reason(self) -> str:
        """Why the run in front cannot be sent a signal; empty if it can."""
        if self.options.read_only:
            return "this dashboard is read-only"
        if isinstance(self.front, Replay) or self.front.writer is None:
            return "nothing is running here"
        return unreachable(self.front.writer)

    def sibling_runs(self) -> list[Path]:
        """Return the runs in the folder of the one in front, itself first."""
        folders = sorted(file.parent for file in self.front.path.parent.glob("*/run.json"))
        return [self.front.path, *(path for path in folders if path.resolve() != self.front.path.resolve())]

    def compare(self, paths: Sequence[Path]) -> None:
        """Compare these runs; fewer than two end the comparison."""
        # kept open, or a long journal would be read again from its start
        open_runs = {run.path.resolve(): run for run in [self.front, *self.compared]}
        self.compared = []
        for path in paths if len(paths) > 1 else ():
            run = open_runs.get(path.resolve())
            if run is None:
                run = RunFollower(path)
                run.open()
            self.compared.append(run)


def last_output(path: Path, lines: int = 200) -> list[str]:
    """Return the last lines that the trainer printed."""
    try:
        with (path / "log.txt").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 200 * lines))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
