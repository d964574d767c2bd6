"""What the mouse does: a click chooses, two grow a chart, a drag moves the cursor, the wheel zooms."""

from dataclasses import replace
from typing import TYPE_CHECKING

from afdctl.tui import keys, looking
from afdctl.tui.panes import footer

if TYPE_CHECKING:
    from afdctl.tui.app import Dashboard

KEYS = {
    "leave": "q", "back": "escape", "play": "full_stop", "replay(1)": "right_square_bracket", "freeze": "p",
    "smooth(1)": "s", "log_y": "y", "axis": "l", "window(1)": "w", "maximise": "enter", "save": "k", "stop": "x",
    "compare": "c", "picture": "e", "help": "question_mark",
}  # fmt: skip


def click(app: "Dashboard", x: int, y: int, times: int) -> None:
    """A key's name in the last row does what the key does; a chart gets the cursor, with two clicks all the room."""
    name = app.at(x, y)
    if app.dialog and app.dialog.kind == "help":
        app.dialog = None
    elif name == "footer" and app.frame:
        hint = footer.at(app.session.facts(app.view), app.frame.places[name].width, x)
        if hint:
            keys.act(app, KEYS[hint.action])
    elif app.frame and name and name in app.frame.charts:
        app.change(replace(app.view, focus=app.frame.charts[name][0].key))
        if times == 2:
            app.change(replace(app.view, cursor=None))
            looking.maximise(app)
        elif (step := app.step_at(x, y)) is not None:
            looking.set_cursor(app, step)
    app.draw()


def drag(app: "Dashboard", x: int, y: int) -> None:
    """Move the cursor."""
    if (step := app.step_at(x, y)) is not None:
        looking.set_cursor(app, step)
        app.draw()


def wheel(app: "Dashboard", x: int, y: int, factor: float) -> None:
    """Zoom around the pointer."""
    if (step := app.step_at(x, y)) is not None:
        looking.zoom(factor, step)(app)
        app.draw()
