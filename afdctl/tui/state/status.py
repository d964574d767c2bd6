"""The status of a run as the dashboard shows it: a word, a mark and a colour."""

from dataclasses import dataclass
from typing import Final

from afdctl.formatting import format_duration
from afdctl.runs.status import OTHER_VERSION
from afdctl.tui.state.history import History

# A trainer is quiet if it has written nothing for this long and for this many of its usual pauses.
QUIET_SECONDS: Final = 30.0
QUIET_PAUSES: Final = 5
# Mark and colour of each status; the others have ended badly.
STYLES: Final = {
    OTHER_VERSION: ("?", "warn"),
    "not started": ("◌", "bad"),
    "starting": ("◌", "warn"),
    "training": ("●", "good"),
    "testing": ("●", "good"),
    "sweeping": ("●", "good"),
    "analyzing": ("●", "good"),
    "finished": ("✔", "good"),
    "swept": ("✔", "good"),
    "stopped": ("■", "warn"),
    "sweep stopped": ("■", "warn"),
}


@dataclass(frozen=True)
class State:
    """A word, the mark before it, and the role of its colour. `over`: no process writes the journal."""

    word: str
    mark: str
    colour: str
    over: bool = False


def state(history: History, is_written: bool, *, gone: str = "", quiet: float = 0.0, replayed: bool = False) -> State:
    """Return the state to show.

    `gone` is why nothing can be read; nothing was written for `quiet` seconds; `replayed` is true for a replay.
    """
    if gone:
        return State(gone, "✖", "bad", over=True)
    if replayed and not history.other_schema:
        return State("replay", "▶", "d_hdh")
    word = OTHER_VERSION if history.other_schema else history.status.status(is_written=is_written)
    if word == "training" and quiet > max(QUIET_SECONDS, QUIET_PAUSES * history.rates.seconds_between_writes):
        # a trainer that hangs must not look like one that trains; tests and attacks write nothing for long
        return State(f"quiet {format_duration(quiet)}", "?", "warn")
    mark, colour = STYLES.get(word, ("✖", "bad"))
    # the process that wrote the last row takes a moment to exit
    return State(word, mark, colour, over=not is_written or history.status.has_ended)
