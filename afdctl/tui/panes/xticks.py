"""The ticks of the x axis: steps, epochs, or time at work."""

from collections.abc import Callable

from afdctl.tui.drawing.scale import Range, brief, duration
from afdctl.tui.panes.columns import Stretch
from afdctl.tui.reading.history import History
from afdctl.tui.view import Kept

CELLS_PER_TICK = 10
TIMES = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800)


def x_ticks(history: History, part: Stretch, kept: Kept, per: str, width: int) -> list[tuple[float, str]]:
    """Where ticks go, as shares of the width, and their names, unit with the last."""
    number = max(1, width // CELLS_PER_TICK)
    steps_per_epoch = max(1, int(history.run.get("steps_per_epoch") or 1))
    name: Callable[[float], str] = whole
    factor = 1.0
    if kept.axis == "time":
        step = next((each for each in TIMES if (part.high - part.low) / each <= number), TIMES[-1])
        first = int(-(-part.low // step))
        ticks = [place * float(step) for place in range(first, int(part.high // step) + 1)]
        return _shares(ticks, part, 1.0, duration)
    if kept.axis == "epoch" and per == "step":
        factor = float(steps_per_epoch)
    ticks = Range(part.low / factor, part.high / factor).ticks(number)
    if kept.axis == "epoch" or per == "epoch":
        name = _epoch
    return _shares([tick for tick in ticks if tick == int(tick)] or ticks, part, factor, name)


def _shares(ticks: list[float], part: Stretch, factor: float, name: Callable[[float], str]) -> list[tuple[float, str]]:
    return [((tick * factor - part.low) / (part.high - part.low), name(tick)) for tick in ticks]


def whole(step: float) -> str:
    """A step's name, exact while it is short."""
    return f"{step:,.0f}" if step < 100_000 and step == int(step) else brief(step)


def _epoch(epoch: float) -> str:
    return f"ep {brief(epoch)}"
