"""What the keys do to runs: leave, stop, save, replay, compare, and write pictures."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from afdctl.errors import DiskFullError
from afdctl.tui import export
from afdctl.tui.panes.dialogs import Dialog
from afdctl.tui.reading.replay import Replay
from afdctl.tui.screenful import Screenful

if TYPE_CHECKING:
    from afdctl.tui.app import Dashboard

Action = Callable[["Dashboard"], None]


def leave(app: "Dashboard") -> None:
    app.leave()


def interrupt(app: "Dashboard") -> None:
    """Ctrl-C: where it used to stop a training, ask; elsewhere leave."""
    if app.session.options.owner and not app.session.front.state.over:
        stop(app)
    else:
        app.leave()


def stop(app: "Dashboard") -> None:
    if reason := _not_now(app):
        app.say(reason)
        return
    name, sweep = app.session.front.name, app.session.front.history.sweep
    if sweep.plan and sweep.ended is None:
        lines = ("What it has measured is kept; the same command goes on.",)
        app.dialog = Dialog("stop", f"Stop attacking {name}?", lines, yes="stop the sweep")
        return
    lines = ("It finishes its step, saves, and can go on later.",)
    app.dialog = Dialog("stop", f"Stop {name}?", lines, yes="stop the run")


def save(app: "Dashboard") -> None:
    history = app.session.front.history
    reason = _not_now(app)
    if not reason and (history.sweep.plan or not 0 < history.step < history.steps_total):
        # only between the first and the last step a trainer listens for this
        reason = "there is nothing new to save now"
    if reason:
        app.say(reason)
    else:
        send(app, signal.SIGUSR1, "asked for a checkpoint")


def _not_now(app: "Dashboard") -> str:
    """Why the run cannot be told anything; empty if it can."""
    front = app.session.front
    if app.session.options.read_only:
        return "this dashboard only looks"
    if isinstance(front, Replay) or front.pid is None:
        return "nothing is running here"
    return ""


def send(app: "Dashboard", number: signal.Signals, done: str) -> None:
    front = app.session.front
    front.look()
    try:
        if front.pid:
            os.kill(front.pid, number)
            app.say(f"{front.name}: {done}")
            app.session.note(f"{done}", "note")
        else:
            app.say("nothing is running here any more")
    except (ProcessLookupError, PermissionError) as error:
        app.say(f"pid {front.pid}: {(error.strerror or '').lower()}")


def play(app: "Dashboard") -> None:
    if isinstance(front := app.session.front, Replay):
        front.playing = not front.playing
    else:
        app.freeze()


def epoch(step: int) -> Action:
    def act(app: "Dashboard") -> None:
        if isinstance(front := app.session.front, Replay):
            front.to_epoch(step)

    return act


def compare(app: "Dashboard") -> None:
    paths = app.session.neighbours()
    if len(paths) < 2:
        app.say("there is no other run in this folder")
        return
    chosen = {run.name for run in app.session.compared} or {app.session.front.name}
    app.dialog = Dialog("choose", "Compare runs", options=[path.name for path in paths], chosen=frozenset(chosen))


def picture(app: "Dashboard") -> None:
    """Write the screen as SVG."""
    _written(app, lambda screen: [export.write_svg(screen, app.session.facts(app.view), Path.cwd())])


def text(app: "Dashboard") -> None:
    """Write the screen as text and its charts as CSV."""
    _written(app, lambda screen: [*export.write_text(screen, app.session.facts(app.view), app.palette, Path.cwd())])


def _written(app: "Dashboard", write: Callable[[Screenful], list[Path]]) -> None:
    if not app.frame:
        return
    try:
        app.say("wrote " + ", ".join(path.name for path in write(app.frame)))
    except OSError as error:
        app.say(f"not written: {(error.strerror or str(error)).lower()}")
    except DiskFullError as error:
        app.say(f"not written: {error}")


def suspend(app: "Dashboard") -> None:
    app.action_suspend_process()
