"""What the keys do: actions on the view and on the run, and the interface through which they use the app."""

import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from afdctl.errors import BusyError
from afdctl.journal import signal_writer
from afdctl.tui.drawing.cells import Palette
from afdctl.tui.layout import tier
from afdctl.tui.panes import chart_data
from afdctl.tui.panes.prompts import Dialog
from afdctl.tui.session import Session
from afdctl.tui.state.replay import Replay
from afdctl.tui.view import LOGS, View, zoom_range

# the smallest part of the x axis that zooming shows, in steps
MIN_SPAN = 20.0


class ActionContext(Protocol):
    """The part of the app that actions use. They do not import the app, which imports the keymap and so them."""

    session: Session
    view: View
    dialog: Dialog | None
    filter_input: str | None

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def palette(self) -> Palette: ...
    @property
    def chart_keys(self) -> list[str]: ...
    @property
    def chart_columns(self) -> int: ...
    def change_view(self, view: View) -> None: ...
    def show_message(self, text: str, *, while_running: bool = False) -> None: ...
    def write_svg(self) -> None: ...
    def write_text(self) -> None: ...
    def leave(self) -> None: ...
    def action_suspend_process(self) -> None: ...


# returns the next view, or None where the view stays
Action = Callable[[ActionContext], View | None]


def freeze(app: ActionContext) -> View:
    """Stop or continue reading; the screen stays as it is."""
    return replace(app.view, frozen=not app.view.frozen)


def zoom(app: ActionContext, factor: float, step: int | None = None) -> View:
    """Multiply the span of x by `factor` around a step: the given one, else the cursor's, else the latest."""
    history, view = app.session.front.history, app.view
    x_range = chart_data.visible_range(history, view, "step")
    centre = view.cursor if step is None else step
    x = chart_data.x_of_step(history, centre, view.settings) if centre is not None else None
    whole = chart_data.visible_range(history, replace(view, zoom=None), "step")
    zoomed = zoom_range(x_range.low, x_range.high, factor, x, x_range.following, MIN_SPAN)
    # the whole window is no zoom, or esc would have nothing to undo
    return replace(view, zoom=None if zoomed.span >= whole.high - whole.low else zoomed)


def move_cursor(app: ActionContext, columns: int) -> View:
    """Move the cursor by columns of the widest chart, to the nearest logged step."""
    history, view = app.session.front.history, app.view
    if not history.series.length:
        return view
    x_range = chart_data.visible_range(history, view.with_settings(axis="step"), "step")
    # a character holds two columns of dots
    steps_per_column = max(1, round((x_range.high - x_range.low) / (2 * app.chart_columns)))
    current = view.cursor if view.cursor is not None else history.step + (1 if columns < 0 else 0)
    return set_cursor(app, current + columns * steps_per_column)


def set_cursor(app: ActionContext, step: int) -> View:
    """Move the cursor to the logged step nearest to this one, and keep it visible when zoomed."""
    history, view = app.session.front.history, app.view
    row = app.session.front.logged_at(min(max(1, step), max(1, history.step)))
    view = replace(view, cursor=int(row["step"]) if row else None)
    # a zoom of the time axis is in seconds, which a step cannot be compared with
    if view.zoom and view.cursor is not None and view.settings.axis != "time":
        x_range = chart_data.visible_range(history, view, "step")
        if not x_range.low <= view.cursor <= x_range.high:
            view = replace(view, zoom=replace(view.zoom, end=view.cursor + view.zoom.span / 2))
    return view


def focus(app: ActionContext, step: int) -> View:
    """Highlight the next (1) or previous (-1) chart."""
    keys = app.chart_keys
    if not keys:
        return app.view
    place = keys.index(app.view.focus) + step if app.view.focus in keys else 0
    return replace(app.view, focus=keys[place % len(keys)])


def maximise(app: ActionContext) -> View:
    """Show only the highlighted chart (or the first), or all of them again."""
    first = app.chart_keys[0] if app.chart_keys else None
    chosen = app.view.focus if app.view.focus in app.chart_keys else first
    return replace(app.view, maximised=None if app.view.maximised else chosen)


def turn_page(app: ActionContext, step: int) -> View:
    """Show the next or previous charts."""
    return replace(app.view, page=app.view.page + step) if app.chart_keys else app.view


def back(app: ActionContext) -> View:
    """Undo what is topmost; a comparison comes last."""
    view = app.view.back()
    if view is app.view:
        app.session.compare([])
    return view


def toggle_pane(app: ActionContext, name: str) -> View:
    """Hide or show a pane. On a screen too small for all of them, show this one beside the charts."""
    if _has_all_panes(app) or name == "header":
        return app.view.toggle(name)
    return replace(app.view, side=None if app.view.side == name else name)


def next_log(app: ActionContext) -> View:
    """Switch the log pane from events to the trainer's output, to hidden."""
    view = app.view
    if not _has_all_panes(app) and view.side != "log" and view.log == "events":
        return replace(view, side="log")
    log = LOGS[(LOGS.index(view.log) + 1) % len(LOGS)]
    view = replace(view, log=log, side="log" if log != "off" and not _has_all_panes(app) else None)
    # the pane would be empty until the next slow poll
    app.session.read_output(view)
    return view


def _has_all_panes(app: ActionContext) -> bool:
    return tier(*app.size) in ("full", "wall")


def toggle_sweep(app: ActionContext) -> View:
    """Switch between the training and the attacks on it."""
    if not app.session.front.history.sweep.cells:
        app.show_message("this run has not been attacked yet")
        return app.view
    # what is shown, not what one run would show, or the first press would do nothing in a comparison
    return replace(app.view, sweep=not app.session.snapshot(app.view).shows_sweep)


def interrupt(app: ActionContext) -> None:
    """Ask whether to stop a training that this command started; otherwise leave."""
    if app.session.options.owner and not app.session.front.state.over:
        ask_to_stop(app)
    else:
        app.leave()


def ask_to_stop(app: ActionContext) -> None:
    """Open the dialog that confirms a stop."""
    if reason := app.session.unreachable_reason:
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
    reason = app.session.unreachable_reason
    if not reason and (history.sweep.plan or not 0 < history.step < history.steps_total):
        # the trainer handles the signal between its first and its last step only
        reason = "there is nothing new to save now"
    if reason:
        app.show_message(reason)
    else:
        _send_signal(app, signal.SIGUSR1, "asked for a checkpoint")


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
    # the writer may have ended since the last poll
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
