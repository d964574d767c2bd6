"""What a user has set: how charts smooth, scale and cut, which panes are there. Frozen; each key makes another one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

BETAS = (0.0, 0.6, 0.9, 0.98, 0.995)
WINDOWS = ("so far", "plan", "last 10 %", "last 1,000")
AXES: Sequence["Axis"] = ("step", "epoch", "time")
THEMES = ("dark", "light")
SIDES = ("game", "accuracy", "system", "log", "header")
"""The panes that the keys 1 to 5 turn on and off."""
LOGS = ("events", "output", "off")

Axis = Literal["step", "epoch", "time"]


@dataclass(frozen=True)
class Settings:
    """The settings that are remembered from one start to the next."""

    beta: float = 0.9
    log_y: bool = False
    axis: Axis = "step"
    window: str = "so far"
    theme: str = ""
    raw: bool = True
    best: bool = True
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class Zoom:
    """A part of the x axis: `span` wide, up to `end`, or (None) up to the present."""

    span: float
    end: float | None = None


@dataclass(frozen=True)
class View:
    """The settings and where the user looks."""

    kept: Settings = Settings()
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

    def keep(self, **changes: object) -> Self:
        """Another view with other settings."""
        return replace(self, kept=replace(self.kept, **changes))  # type: ignore[arg-type]

    def smoothing(self, step: int) -> Self:
        """The next weight of the exponential mean, or the one before."""
        place = BETAS.index(self.kept.beta) if self.kept.beta in BETAS else 0
        return self.keep(beta=BETAS[(place + step) % len(BETAS)])

    def window(self, step: int) -> Self:
        """The next window; a zoom ends with it."""
        place = WINDOWS.index(self.kept.window) if self.kept.window in WINDOWS else -1
        return replace(self.keep(window=WINDOWS[(place + step) % len(WINDOWS)]), zoom=None)

    def axis(self) -> Self:
        """The next meaning of x; a zoom is in the old one's unit and ends."""
        place = AXES.index(self.kept.axis)
        return replace(self.keep(axis=AXES[(place + 1) % len(AXES)]), zoom=None)

    def toggle(self, pane: str) -> Self:
        """Hide or show a pane."""
        hidden = set(self.kept.hidden) ^ {pane}
        return self.keep(hidden=tuple(sorted(hidden)))


def zoomed(low: float, high: float, factor: float, centre: float | None, following: bool, least: float) -> Zoom:
    """The part of (low, high) that is left around `centre` when its span is multiplied by `factor`."""
    span = max(least, (high - low) * factor)
    if centre is None:
        return Zoom(span, None if following else high)
    end = centre + (high - centre) * span / (high - low)
    return Zoom(span, end)
