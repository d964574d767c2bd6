"""How a run is doing: from its journal's last rows and from who holds its lock."""

from dataclasses import dataclass

from afdctl.formatting import format_duration
from afdctl.tui.state.history import History

QUIET_SECONDS, QUIET_GAPS = 30.0, 5
"""A trainer is quiet when it has written nothing for so long, and for so many of its usual pauses."""


@dataclass(frozen=True)
class State:
    """A word, the mark before it, and its colour's role. `over`: nothing writes the journal any more."""

    word: str
    mark: str
    colour: str
    over: bool = False


def state(history: History, pid: int | None, *, gone: str = "", quiet: float = 0.0, replayed: bool = False) -> State:
    """`pid` holds the lock, `gone` why nothing can be read, `quiet` is how long nothing was written."""
    if gone:
        return State(gone, "✖", "bad", over=True)
    if history.newer:
        return State("newer version", "?", "warn", over=pid is None)
    if replayed:
        return State("replay", "▶", "d_hdh")
    if pid is not None:
        return _at_work(history, quiet)
    return _over(history)


def _at_work(history: History, quiet: float) -> State:
    if not history.run:
        return State("starting", "◌", "warn")
    # a test and an attack write nothing for long, and that is as it should be
    if history.sweep.plan and (history.end or history.sweep.since):
        # the process that wrote the last word takes a moment to go
        return State("attacking", "●", "good") if history.sweep.ended is None else _over(history)
    if history.steps_total and history.step >= history.steps_total:
        return State("testing", "●", "good")
    if quiet > max(QUIET_SECONDS, QUIET_GAPS * history.rates.seconds_between_writes):
        # the word stays honest where the trainer hangs
        return State(f"quiet {format_duration(quiet)}", "?", "warn")
    return State("running", "●", "good")


def _over(history: History) -> State:
    if history.sweep.plan and history.sweep.since:
        if history.sweep.ended is None:
            return State("sweep crashed", "✖", "bad", over=True)
        reason = str(history.sweep.ended.get("reason"))
        return _ended("attacked" if reason == "finished" else f"sweep {reason}", reason)
    if history.end is None:
        return State("crashed" if history.run else "not started", "✖" if history.run else "◌", "bad", over=True)
    reason = str(history.end.get("reason"))
    return _ended(reason, reason)


def _ended(word: str, reason: str) -> State:
    mark, colour = {"finished": ("✔", "good"), "stopped": ("■", "warn")}.get(reason, ("✖", "bad"))
    return State(word, mark, colour, over=True)
