"""Actions on the run: signals, replay, comparison, and the dialogs that confirm them."""

import signal
from dataclasses import replace

from afdctl.errors import BusyError
from afdctl.journal import signal_writer, unreachable
from afdctl.tui.panes.prompts import Dialog
from afdctl.tui.state.replay import Replay
from afdctl.tui.view import View
from afdctl.tui.view_actions import ActionContext, freeze


def interrupt(app: ActionContext) -> None:
    """Ask whether to stop a training that this command started; otherwise leave."""
    if app.session.options.owner and not app.session.front.state.over:
        ask_to_stop(app)
    else:
        app.leave()


def ask_to_stop(app: ActionContext) -> None:
    """Open the dialog that confirms a stop."""
    if reason := _cannot_signal(app):
        app.show_message(reason)
        return
    name, sweep = app.session.front.name, app.session.front.history.sweep
    if sweep.plan and sweep.ended is None:
        lines = ("Finished cells are kept. The same command resumes the sweep.",)
        app.dialog = Dialog(kind="stop", title=f"Stop attacking {name}?", lines=lines, yes="stop the sweep")
    else:
        lines = ("It finishes its step and saves. It can be resumed later.",)
        app.dialog = Dialog(kind="stop", title=f"Stop {name}?", lines=lines, yes="stop the run")


def request_checkpoint(app: ActionContext) -> None:
    """Send SIGUSR1 to the trainer, which then saves a checkpoint."""
    history = app.session.front.history
    reason = _cannot_signal(app)
    if not reason and (history.sweep.plan or not 0 < history.step < history.steps_total):
        # the trainer handles the signal between its first and its last step only
        reason = "there is nothing new to save now"
    if reason:
        app.show_message(reason)
    else:
        _send_signal(app, signal.SIGUSR1, "asked for a checkpoint")


def _cannot_signal(app: ActionContext) -> str:
    """Return the reason why the run cannot be sent a signal; empty if it can."""
    if app.session.options.read_only:
        return "this dashboard is read-only"
    front = app.session.front
    if isinstance(front, Replay) or front.writer is None:
        return "nothing is running here"
    return unreachable(front.writer)


def _send_signal(app: ActionContext, number: signal.Signals, message: str) -> None:
    front = app.session.front
    try:
        writer = signal_writer(front.journal, number)
    except BusyError as error:
        app.show_message(str(error))
        return
    except OSError as error:
        app.show_message(f"pid {front.pid}: {(error.strerror or '').lower()}")
        return
    front.refresh_writer()
    if writer is None:
        app.show_message("nothing is running here any more")
    else:
        app.show_message(f"{front.name}: {message}", while_running=True)
        app.session.add_note(message)


def play_or_freeze(app: ActionContext) -> View | None:
    """Pause or continue a replay; freeze the view of any other run."""
    if isinstance(front := app.session.front, Replay):
        front.playing = not front.playing
        return None
    return freeze(app)


def move_replay(app: ActionContext, epochs: int) -> None:
    """Move a replay forward or back by whole epochs."""
    if isinstance(front := app.session.front, Replay):
        front.to_epoch(epochs)


def choose_compared(app: ActionContext) -> None:
    """Open the list of runs to compare."""
    paths = app.session.sibling_runs()
    if len(paths) < 2:
        app.show_message("there is no other run in this folder")
        return
    chosen = {run.name for run in app.session.compared} or {app.session.front.name}
    app.dialog = Dialog(
        kind="choose", title="Compare runs", options=[path.name for path in paths], chosen=frozenset(chosen)
    )


def answer_dialog(app: ActionContext, dialog: Dialog, key: str) -> None:
    """Handle a key while a dialog is open."""
    if dialog.kind == "choose":
        _choose_runs(app, dialog, key)
    elif dialog.kind == "stop" and key in ("y", "enter", "ctrl+c"):
        app.dialog = None
        _send_signal(app, signal.SIGTERM, "asked to stop: it finishes its step and saves")
    elif dialog.kind != "stop" or key in ("n", "escape", "q"):
        app.dialog = None


def _choose_runs(app: ActionContext, dialog: Dialog, key: str) -> None:
    if key == "space":
        app.dialog = replace(dialog, chosen=dialog.chosen ^ {dialog.options[dialog.selected]})
    elif key == "enter":
        folder = app.session.front.path.parent
        app.session.compare([folder / name for name in dialog.options if name in dialog.chosen])
        app.dialog = None
    elif key in ("escape", "q", "c"):
        app.dialog = None
    elif step := {"up": -1, "down": 1, "k": -1, "j": 1}.get(key, 0):
        app.dialog = replace(dialog, selected=(dialog.selected + step) % len(dialog.options))
