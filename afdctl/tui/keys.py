"""What each key does."""

import signal
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from afdctl.tui import looking, steering
from afdctl.tui.panes.dialogs import Dialog

if TYPE_CHECKING:
    from afdctl.tui.app import Dashboard

Action = Callable[["Dashboard"], None]


def press(app: "Dashboard", key: str, character: str | None) -> None:
    """Do what a key means in the filter's line, in a dialog, or on the panes."""
    if app.typing is not None:
        _type(app, key, character)
    elif app.dialog:
        _answer(app, app.dialog, key)
    else:
        act(app, key)


def act(app: "Dashboard", key: str) -> None:
    """Do what a key means on the panes. For a browser that is never more than to look."""
    actions = LOOKING if app.session.options.served else LOOKING | STEERING
    if action := actions.get(key):
        action(app)


def _type(app: "Dashboard", key: str, character: str | None) -> None:
    text = app.typing or ""
    if key == "ctrl+c":
        # who presses this wants to leave, wherever the keys go to
        app.typing = None
        act(app, key)
    elif key in ("enter", "escape"):
        app.typing = None
        app.change(replace(app.view, filter=text if key == "enter" else "", page=0))
    elif key == "backspace":
        app.typing = text[:-1]
    elif character and character.isprintable():
        app.typing = text + character


def _answer(app: "Dashboard", dialog: Dialog, key: str) -> None:
    if dialog.kind == "choose":
        _choose(app, dialog, key)
    elif dialog.kind == "stop" and key in ("y", "enter", "ctrl+c"):
        app.dialog = None
        steering.send(app, signal.SIGTERM, "asked to stop: it finishes its step and saves")
    elif dialog.kind != "stop" or key in ("n", "escape", "q"):
        app.dialog = None


def _choose(app: "Dashboard", dialog: Dialog, key: str) -> None:
    move = {"up": -1, "down": 1, "k": -1, "j": 1}.get(key, 0)
    if key == "space":
        app.dialog = replace(dialog, chosen=dialog.chosen ^ {dialog.options[dialog.at]})
    elif key == "enter":
        folder = app.session.front.path.parent
        app.session.compare([folder / name for name in dialog.options if name in dialog.chosen])
        app.dialog = None
    elif key in ("escape", "q", "c"):
        app.dialog = None
    else:
        app.dialog = replace(dialog, at=(dialog.at + move) % len(dialog.options))


LOOKING: dict[str, Action] = {
    "q": steering.leave, "ctrl+q": steering.leave, "ctrl+c": steering.interrupt, "c": steering.compare,
    "left_square_bracket": steering.epoch(-1), "right_square_bracket": steering.epoch(1), "full_stop": steering.play,
    "p": looking.freeze, "space": looking.freeze,
    "s": looking.keep(lambda view: view.smoothing(1)),
    "S": looking.keep(lambda view: view.smoothing(-1)), "upper_s": looking.keep(lambda view: view.smoothing(-1)),
    "y": looking.keep(lambda view: view.keep(log_y=not view.kept.log_y)),
    "l": looking.keep(lambda view: view.axis()),
    "w": looking.keep(lambda view: view.window(1)),
    "W": looking.keep(lambda view: view.window(-1)), "upper_w": looking.keep(lambda view: view.window(-1)),
    "r": looking.keep(lambda view: view.keep(raw=not view.kept.raw)),
    "b": looking.keep(lambda view: view.keep(best=not view.kept.best)),
    "plus": looking.zoom(0.5), "equals_sign": looking.zoom(0.5), "minus": looking.zoom(2.0),
    "left": looking.move(-1), "right": looking.move(1),
    "shift+left": looking.move(-10), "shift+right": looking.move(10),
    "enter": looking.maximise, "escape": looking.back, "tab": looking.focus(1), "shift+tab": looking.focus(-1),
    "pagedown": looking.page(1), "pageup": looking.page(-1),
    "1": looking.pane("game"), "2": looking.pane("accuracy"), "3": looking.pane("system"), "4": looking.log,
    "5": looking.pane("header"), "0": looking.reset, "slash": looking.filter_, "t": looking.theme, "v": looking.sweep,
    "question_mark": looking.help_, "h": looking.help_,
}  # fmt: skip
"""Keys that change nothing but what this dashboard shows."""
STEERING: dict[str, Action] = {
    "x": steering.stop, "k": steering.save, "e": steering.picture, "E": steering.text, "upper_e": steering.text,
    "ctrl+z": steering.suspend,
}  # fmt: skip
"""Keys that send signals or write files."""
