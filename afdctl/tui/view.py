"""What a pane draws: one moment of a run, and what the user chose to see."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, Self, TypeVar

from afdctl.errors import DiskFullError
from afdctl.runs import files
from afdctl.tui.state.follower import State
from afdctl.tui.state.history import History
from afdctl.tui.state.log_entries import LogEntry
from afdctl.tui.system import System

Axis = Literal["step", "epoch", "time"]
Item = TypeVar("Item")

BETAS = (0.0, 0.6, 0.9, 0.98, 0.995)
WINDOWS = ("so far", "plan", "last 10 %", "last 1,000")
AXES: Sequence[Axis] = ("step", "epoch", "time")
THEMES = ("dark", "light")
# the panes that the keys 1 to 5 toggle
TOGGLED_PANES = ("health", "accuracy", "system", "log", "header")
LOGS = ("events", "output", "off")


@dataclass(frozen=True)
class Settings:
    """Settings that are remembered between sessions."""

    beta: float = 0.9
    log_y: bool = False
    axis: Axis = "step"
    window: str = "so far"
    theme: str = ""
    raw: bool = True
    best: bool = True
    hidden: tuple[str, ...] = ()


# the file can be edited by hand or written by another version
ALLOWED_VALUES = {"beta": BETAS, "axis": AXES, "window": WINDOWS, "theme": ("", *THEMES)}


def settings_file() -> Path:
    """Return the path of the settings file, as the XDG specification places it."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "afdctl" / "dashboard.json"


def load_settings() -> Settings:
    """Read the settings; a missing file, an unknown key and a bad value count as the default."""
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        stored = json.loads(settings_file().read_text())
        names = {field.name for field in fields(Settings)}
        values = {name: value for name, value in stored.items() if name in names and _is_valid(name, value)}
        if isinstance(hidden := values.get("hidden"), list):
            values["hidden"] = tuple(pane for pane in hidden if pane in TOGGLED_PANES)
        return Settings(**values)
    return Settings()


def save_settings(settings: Settings) -> None:
    """Write the settings; a read-only or full home directory is ignored."""
    path = settings_file()
    with suppress(OSError, DiskFullError):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps(asdict(settings), indent=2) + "\n")


def _is_valid(name: str, value: object) -> bool:
    if name in ALLOWED_VALUES:
        return value in ALLOWED_VALUES[name]
    return isinstance(value, list if name == "hidden" else bool)


@dataclass(frozen=True)
class Zoom:
    """A part of the x axis, `span` wide, that ends at `end` or follows the latest step (None)."""

    span: float
    end: float | None = None


@dataclass(frozen=True)
class View:
    """The settings and the state of the screen. Every key makes a new one."""

    settings: Settings = Settings()
    zoom: Zoom | None = None
    cursor: int | None = None
    frozen: bool = False
    log: str = "events"
    filter: str = ""
    page: int = 0
    maximised: str | None = None
    focus: str | None = None
    side: str | None = None
    sweep: bool | None = None

    def with_settings(self, **changes: object) -> Self:
        """Return the view with changed settings."""
        return replace(self, settings=replace(self.settings, **changes))  # type: ignore[arg-type]

    def next_beta(self, step: int) -> Self:
        """Select the next (1) or previous (-1) weight of the exponential moving average."""
        return self.with_settings(beta=_cycle(BETAS, self.settings.beta, step, 0))

    def next_window(self, step: int) -> Self:
        """Select the next or previous window. Ends a zoom."""
        return replace(self.with_settings(window=_cycle(WINDOWS, self.settings.window, step, -1)), zoom=None)

    def next_axis(self) -> Self:
        """Select the next unit of x. Ends a zoom, which is in the old unit."""
        return replace(self.with_settings(axis=_cycle(AXES, self.settings.axis, 1, 0)), zoom=None)

    def toggle(self, pane: str) -> Self:
        """Hide or show a pane."""
        return self.with_settings(hidden=tuple(sorted(set(self.settings.hidden) ^ {pane})))

    def back(self) -> Self:
        """Undo the topmost of filter, cursor, zoom, maximised chart, side pane and focus; self if none is set."""
        default = View()
        for name in ("filter", "cursor", "zoom", "maximised", "side", "focus"):
            if getattr(self, name):
                return replace(self, **{name: getattr(default, name)})
        return self


def _cycle(choices: Sequence[Item], current: Item, step: int, start: int) -> Item:
    """Return the choice `step` places after the current one, counting from `start` if that is unknown."""
    place = choices.index(current) if current in choices else start
    return choices[(place + step) % len(choices)]


def zoom_range(low: float, high: float, factor: float, centre: float | None, following: bool, min_span: float) -> Zoom:
    """Scale the span of (low, high) by `factor` around `centre`, or around its end if that is None."""
    span = max(min_span, (high - low) * factor)
    if centre is None:
        return Zoom(span, None if following else high)
    # the centre keeps its place on the screen
    return Zoom(span, centre + (high - centre) * span / (high - low))


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
        # a resumed training clears the plan
        newer = bool(self.history.sweep.plan) and not self.others
        return newer if self.view.sweep is None else self.view.sweep
