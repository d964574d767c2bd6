"""What each key does."""

import signal
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from afdctl.tui import actions
from afdctl.tui.panes import footer
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
        actions.send(app, signal.SIGTERM, "asked to stop: it finishes its step and saves")
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
    "q": actions.leave,
    "ctrl+q": actions.leave,
    "ctrl+c": actions.interrupt,
    "c": actions.compare,
    "left_square_bracket": actions.epoch(-1),
    "right_square_bracket": actions.epoch(1),
    "full_stop": actions.play,
    "p": actions.freeze,
    "space": actions.freeze,
    "s": actions.keep(lambda view: view.smoothing(1)),
    "S": actions.keep(lambda view: view.smoothing(-1)),
    "upper_s": actions.keep(lambda view: view.smoothing(-1)),
    "y": actions.keep(lambda view: view.keep(log_y=not view.kept.log_y)),
    "l": actions.keep(lambda view: view.axis()),
    "w": actions.keep(lambda view: view.window(1)),
    "W": actions.keep(lambda view: view.window(-1)),
    "upper_w": actions.keep(lambda view: view.window(-1)),
    "r": actions.keep(lambda view: view.keep(raw=not view.kept.raw)),
    "b": actions.keep(lambda view: view.keep(best=not view.kept.best)),
    "plus": actions.zoom(0.5),
    "equals_sign": actions.zoom(0.5),
    "minus": actions.zoom(2.0),
    "left": actions.move(-1),
    "right": actions.move(1),
    "shift+left": actions.move(-10),
    "shift+right": actions.move(10),
    "enter": actions.maximise,
    "escape": actions.back,
    "tab": actions.focus(1),
    "shift+tab": actions.focus(-1),
    "pagedown": actions.page(1),
    "pageup": actions.page(-1),
    "1": actions.pane("game"),
    "2": actions.pane("accuracy"),
    "3": actions.pane("system"),
    "4": actions.log,
    "5": actions.pane("header"),
    "0": actions.reset,
    "slash": actions.filter_,
    "t": actions.theme,
    "v": actions.sweep,
    "question_mark": actions.help_,
    "h": actions.help_,
}
"""Keys that change nothing but what this dashboard shows."""
STEERING: dict[str, Action] = {
    "x": actions.stop,
    "k": actions.save,
    "e": actions.picture,
    "E": actions.text,
    "upper_e": actions.text,
    "ctrl+z": actions.suspend,
}
"""Keys that send signals or write files."""


if TYPE_CHECKING:
    from afdctl.tui.app import Dashboard

KEYS = {
    "leave": "q",
    "back": "escape",
    "play": "full_stop",
    "replay(1)": "right_square_bracket",
    "freeze": "p",
    "smooth(1)": "s",
    "log_y": "y",
    "axis": "l",
    "window(1)": "w",
    "maximise": "enter",
    "save": "k",
    "stop": "x",
    "compare": "c",
    "picture": "e",
    "help": "question_mark",
}


def click(app: "Dashboard", x: int, y: int, times: int) -> None:
    """A key's name in the last row does what the key does; a chart gets the cursor, with two clicks all the room."""
    name = app.at(x, y)
    if app.dialog and app.dialog.kind == "help":
        app.dialog = None
    elif name == "footer" and app.frame:
        hint = footer.at(app.session.facts(app.view), app.frame.places[name].width, x)
        if hint:
            act(app, KEYS[hint.action])
    elif app.frame and name and name in app.frame.charts:
        app.change(replace(app.view, focus=app.frame.charts[name][0].key))
        if times == 2:
            app.change(replace(app.view, cursor=None))
            actions.maximise(app)
        elif (step := app.step_at(x, y)) is not None:
            actions.set_cursor(app, step)
    app.draw()


def drag(app: "Dashboard", x: int, y: int) -> None:
    """Move the cursor."""
    if (step := app.step_at(x, y)) is not None:
        actions.set_cursor(app, step)
        app.draw()


def wheel(app: "Dashboard", x: int, y: int, factor: float) -> None:
    """Zoom around the pointer."""
    if (step := app.step_at(x, y)) is not None:
        actions.zoom(factor, step)(app)
        app.draw()
