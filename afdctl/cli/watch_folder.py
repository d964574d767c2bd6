"""`afdctl watch FOLDER`: the runs of a folder, such as those of a grid, with state, epoch and best epoch so far."""

import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import typer

from afdctl.cli.process import broken_pipe_error
from afdctl.errors import NotFoundError, StoppedError
from afdctl.formatting import format_percent, format_value, short_keys

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from afdctl.cli.console import TableConsole
    from afdctl.tui.state.follower import RunFollower

REFRESH_SECONDS: Final = 1.0
# Between two trainings of a process no run is written for a moment.
IDLE_SECONDS: Final = 10.0
# Until a grid that starts has its first run; importing torch and starting Ray take a while.
FIRST_RUN_SECONDS: Final = 60.0
NO_RUN: Final = "no run yet"
# Columns that a narrow terminal leaves out, the last of them first.
MEASURED: Final = ("epoch", "hold-out %", "best")


class RunState(NamedTuple):
    """What a line shows of a run; `accuracy` in [0, 1] is the best epoch's on the hold-out, under `attack`."""

    name: str
    word: str
    epoch: int
    epochs: int
    best_epoch: int | None
    accuracy: float | None
    attack: str

    @classmethod
    def of(cls, run: "RunFollower") -> "RunState":
        best = run.history.best_epoch() or {}
        return cls(
            name=run.name,
            word=run.state.word,
            epoch=run.history.epoch,
            epochs=int(run.history.run.get("epochs") or 0),
            best_epoch=best.get("epoch"),
            accuracy=best.get("acc_probe", best.get("acc_adv")),
            attack="probe" if "acc_probe" in best else "APGD-CE",
        )

    @property
    def epoch_count(self) -> str:
        return f"{self.epoch}/{self.epochs}" if self.epochs else ""

    @property
    def holdout(self) -> str:
        return "" if self.accuracy is None else f"{format_percent(self.accuracy)} ({self.attack})"


class RunFolder:
    """The runs of a folder, followed as they are made and grow; `names` are those of interest, by default all."""

    def __init__(self, root: Path, names: Collection[str] | None = None) -> None:
        self.root, self.names = root, names
        self.followers: dict[str, RunFollower] = {}
        self.begun_at = time.monotonic()
        self.busy_at = float("-inf")

    def refresh(self) -> list[RunState]:
        """Read what is new; return the state of each run, those that are written first, then the best first."""
        from afdctl.runs.folders import is_driven
        from afdctl.runs.run import Run
        from afdctl.tui.state.follower import RunFollower

        for run in Run.all(self.root):
            if run.name not in self.followers and (self.names is None or run.name in self.names):
                self.followers[run.name] = RunFollower(run.path)
        for follower in self.followers.values():
            follower.poll(REFRESH_SECONDS)
        if any(follower.writer for follower in self.followers.values()) or is_driven(self.root):
            self.busy_at = time.monotonic()
        states = {name: RunState.of(follower) for name, follower in self.followers.items()}
        return sorted(
            states.values(), key=lambda run: (self.followers[run.name].writer is None, -(run.accuracy or 0.0), run.name)
        )

    @property
    def is_idle(self) -> bool:
        """Whether no process has written a run for a while, or none has begun one."""
        if self.followers:
            return time.monotonic() - self.busy_at > IDLE_SECONDS
        return time.monotonic() - max(self.begun_at, self.busy_at) > FIRST_RUN_SECONDS

    def check_begun(self) -> None:
        """Raise NotFoundError for a folder without a run."""
        if not self.followers:
            raise NotFoundError(f"{self.root}: no run has begun here within {FIRST_RUN_SECONDS:.0f} seconds")

    def values(self) -> dict[str, dict[str, Any]]:
        """Return the values in which the recipes differ, by run."""
        from afdctl.runs.provenance import differing_keys

        recipes = {name: follower.history.recipe for name, follower in self.followers.items()}
        rows = differing_keys([recipe for recipe in recipes.values() if recipe])
        known = [name for name, recipe in recipes.items() if recipe]
        return {name: {key: values[place] for key, values in rows.items()} for place, name in enumerate(known)}


def is_folder_of_runs(path: Path) -> bool:
    """Whether a path is a folder with runs, or one in which they may begin, and no run itself."""
    from afdctl.runs.folders import DRIVER, JOURNAL, RUN

    if not path.is_dir() or (path / RUN).exists() or any(path.glob(f"{JOURNAL}*")):
        return False
    is_empty = all(file.name.startswith(DRIVER) for file in path.iterdir())
    return is_empty or any(path.glob(f"*/{RUN}")) or any(path.glob(f"*/{JOURNAL}*"))


def watch_folder(root: Path, *, once: bool) -> None:
    """Show the runs of a folder until no process writes one of them, or once."""
    from afdctl.cli.console import TableConsole

    folder, console = RunFolder(root), TableConsole()
    if once:
        console.print(draw(folder, folder.refresh(), console))
        return
    try:
        if sys.stdout.isatty():
            from rich.live import Live

            with Live(draw(folder, folder.refresh(), console), console=console, auto_refresh=False) as live:
                while not folder.is_idle:
                    time.sleep(REFRESH_SECONDS)
                    live.update(draw(folder, folder.refresh(), console), refresh=True)
        else:
            for line in follow(folder):
                typer.echo(line)
    except BrokenPipeError:
        raise broken_pipe_error() from None
    except KeyboardInterrupt:
        raise StoppedError("", 2) from None
    folder.check_begun()


def follow(folder: RunFolder) -> Iterator[str]:
    """Yield a line for each run that has a new state or a better epoch, until no process writes one."""
    lines = Changes(folder)
    yield from lines.new()
    if not folder.followers:
        yield f"{folder.root}: {NO_RUN}"
    while not folder.is_idle:
        time.sleep(REFRESH_SECONDS)
        yield from lines.new()


class Changes:
    """The lines of a folder's runs; each says what has changed since the one before.

    `labels` are the settings of runs by name; by default those in which the runs differ so far.
    """

    def __init__(self, folder: RunFolder, labels: Mapping[str, str] | None = None) -> None:
        self.folder, self.labels = folder, labels
        self.shown: dict[str, tuple[str, int | None]] = {}

    def new(self) -> Iterator[str]:
        states = self.folder.refresh()
        values = self.folder.values() if self.labels is None else {}
        for run in states:
            if self.shown.get(run.name) != (run.word, run.best_epoch):
                self.shown[run.name] = (run.word, run.best_epoch)
                settings = (self.labels or {}).get(run.name) or describe(values.get(run.name, {}))
                epoch = f"epoch {run.epoch_count}" if run.epoch_count else ""
                best = f"best: epoch {run.best_epoch}, {run.holdout}" if run.accuracy is not None else ""
                yield "  ".join(filter(None, [run.name, settings, run.word, epoch, best]))


def describe(values: dict[str, Any]) -> str:
    return " ".join(
        f"{key}={format_value(value)}" for key, value in zip(short_keys(values), values.values(), strict=True)
    )


def draw(folder: RunFolder, states: Sequence[RunState], console: "TableConsole") -> "Group":
    """Return a line of counts, the table of the runs, and what the console is too narrow for."""
    from rich.console import Group

    if not states:
        return Group(f"{folder.root}: {NO_RUN}")
    values = folder.values()
    keys = list(next(iter(values.values()), {}))
    table, dropped = console.fit_columns(
        lambda optional: tabulate(states, values, keys, optional), len(MEASURED) + len(keys)
    )
    counts = Counter(run.word for run in states)
    words = ", ".join(f"{count} {word}" for word, count in counts.items())
    differing = ", ".join(name for name in dropped if name not in MEASURED)
    measured = ", ".join(name for name in dropped if name in MEASURED)
    notes = [f"They also differ in {differing}."] * bool(differing) + [f"No room for {measured}."] * bool(measured)
    return Group(f"{folder.root}: {words}", table, *notes)


def tabulate(
    states: Sequence[RunState], values: dict[str, dict[str, Any]], keys: Sequence[str], optional: int
) -> "Table":
    """Return the table of the runs with the first `optional` of the columns `MEASURED` and of the keys."""
    from rich.table import Table

    measured, shown = MEASURED[:optional], keys[: max(0, optional - len(MEASURED))]
    table = Table()
    table.add_column("run", overflow="fold")
    for key in short_keys(keys)[: len(shown)]:
        table.add_column(key, overflow="fold")
    table.add_column("state", no_wrap=True)
    for heading in ("epoch", "best", "hold-out %"):
        if heading in measured:
            table.add_column(heading, justify="right", no_wrap=True)
    for run in states:
        settings = [format_value(values[run.name][key]) if run.name in values else "" for key in shown]
        best = "" if run.accuracy is None else str(run.best_epoch)
        cells = {"epoch": run.epoch_count, "best": best, "hold-out %": run.holdout}
        table.add_row(run.name, *settings, run.word, *(text for name, text in cells.items() if name in measured))
    return table
