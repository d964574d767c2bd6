"""Actions that change the view, and the interface through which all actions use the app."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from afdctl.tui.drawing.cells import Palette
from afdctl.tui.layout import tier
from afdctl.tui.panes import chart_data
from afdctl.tui.panes.prompts import Dialog
from afdctl.tui.session import Session
from afdctl.tui.view import LOGS, Settings, View, zoom_range

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
    app.session.read_output(view)
    return view


def _has_all_panes(app: ActionContext) -> bool:
    return tier(*app.size) in ("full", "wall")


def toggle_theme(app: ActionContext) -> View:
    return app.view.with_settings(theme="light" if app.palette.dark else "dark")


def toggle_sweep(app: ActionContext) -> View:
    """Switch between the training and the attacks on it."""
    if not app.session.front.history.sweep.cells:
        app.show_message("this run has not been attacked yet")
        return app.view
    return replace(app.view, sweep=not app.session.snapshot(app.view).shows_sweep)


def reset(app: ActionContext) -> View:
    """Return to the default view; the theme stays."""
    return View(Settings(theme=app.view.settings.theme))


def edit_filter(app: ActionContext) -> None:
    """Start typing a filter for log and charts."""
    app.filter_input = app.view.filter
