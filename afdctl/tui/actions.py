"""What the keys do to the view: freeze, smooth, zoom, cursor, panes."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from afdctl.errors import BusyError, DiskFullError
from afdctl.journal import signal_writer, unreachable
from afdctl.tui import export
from afdctl.tui.layout import page_size, tier
from afdctl.tui.panes import chart_data
from afdctl.tui.panes.dialogs import Dialog
from afdctl.tui.screen import Frame
from afdctl.tui.state.replay import Replay
from afdctl.tui.view import LOGS, Settings, View, zoomed

if TYPE_CHECKING:
    from afdctl.tui.app import Dashboard

Action = Callable[["Dashboard"], None]
LEAST_SPAN = 20.0


def freeze(app: "Dashboard") -> None:
    app.freeze()


def keep(change: Callable[[View], View]) -> Action:
    """An action that makes another view."""

    def act(app: "Dashboard") -> None:
        app.change(change(app.view))

    return act


def zoom(factor: float, step: int | None = None) -> Action:
    """Show less or more around the cursor, the mouse, or up to the present."""

    def act(app: "Dashboard") -> None:
        history, view = app.session.front.history, app.view
        part = chart_data.x_range(history, view, "step")
        centre = view.cursor if step is None else step
        at = chart_data.x_of_step(history, centre, view.kept) if centre is not None else None
        whole = chart_data.x_range(history, replace(view, zoom=None), "step")
        found = zoomed(part.low, part.high, factor, at, part.following, LEAST_SPAN)
        app.change(replace(view, zoom=None if found.span >= whole.high - whole.low else found))

    return act


def move(columns_: int) -> Action:
    """Move the cursor by so many columns of the chart in front, to the next logged step."""

    def act(app: "Dashboard") -> None:
        history, view = app.session.front.history, app.view
        if not history.series.length:
            return
        part = chart_data.x_range(history, replace(view, kept=replace(view.kept, axis="step")), "step")
        field = max((drawn.field for _, drawn in app.frame.charts.values()), default=50) if app.frame else 50
        size = max(1, round((part.high - part.low) / (2 * field)))
        now = view.cursor if view.cursor is not None else history.step + (1 if columns_ < 0 else 0)
        set_cursor(app, now + columns_ * size)

    return act


def set_cursor(app: "Dashboard", step: int) -> None:
    """Put the cursor on the logged step that is nearest, and keep it in sight."""
    history, view = app.session.front.history, app.view
    logged = app.session.front.logged_at(min(max(1, step), max(1, history.step)))
    view = replace(view, cursor=int(logged["step"]) if logged else None)
    if view.zoom and view.cursor is not None and view.kept.axis != "time":
        part = chart_data.x_range(history, view, "step")
        if not part.low <= view.cursor <= part.high:
            view = replace(view, zoom=replace(view.zoom, end=view.cursor + view.zoom.span / 2))
    app.change(view)


def maximise(app: "Dashboard") -> None:
    charts = [chart.key for chart, _ in (app.frame.charts.values() if app.frame else ())]
    chosen = app.view.focus if app.view.focus in charts else charts[0] if charts else None
    app.change(replace(app.view, maximised=None if app.view.maximised else chosen))


def focus(step: int) -> Action:
    """The frame of the next chart is lit."""

    def act(app: "Dashboard") -> None:
        charts = [chart.key for chart, _ in (app.frame.charts.values() if app.frame else ())]
        if charts:
            place = charts.index(app.view.focus) + step if app.view.focus in charts else 0
            app.change(replace(app.view, focus=charts[place % len(charts)]))

    return act


def back(app: "Dashboard") -> None:
    """Undo what is most on top."""
    view = app.view
    for change in (
        {"cursor": None},
        {"zoom": None},
        {"maximised": None},
        {"side": None},
        {"filter": ""},
        {"focus": None},
    ):
        name = next(iter(change))
        if getattr(view, name):
            app.change(replace(view, **change))
            return
    if app.session.compared:
        app.session.compare([])


def page(step: int) -> Action:
    def act(app: "Dashboard") -> None:
        if app.frame and page_size(app.frame.places):
            app.change(replace(app.view, page=app.view.page + step))

    return act


def pane(name: str) -> Action:
    """Hide a pane or show it; where there is no room for all, show this one."""

    def act(app: "Dashboard") -> None:
        kind = tier(*app.size)
        if kind in ("full", "wall") or name == "header":
            app.change(app.view.toggle(name))
        else:
            app.change(replace(app.view, side=None if app.view.side == name else name))

    return act


def log(app: "Dashboard") -> None:
    """Events, then the trainer's output, then none."""
    view = app.view
    small = tier(*app.size) not in ("full", "wall")
    following = LOGS[(LOGS.index(view.log) + 1) % len(LOGS)]
    if small and view.side != "log" and view.log == "events":
        app.change(replace(view, side="log"))
        return
    app.change(replace(view, log=following, side="log" if small and following != "off" else None))
    app.session.read_output(app.view)


def theme(app: "Dashboard") -> None:
    app.change(app.view.keep(theme="light" if app.palette.dark else "dark"))


def sweep(app: "Dashboard") -> None:
    attacks = app.session.front.history.sweep
    if attacks.cells:
        shown = app.view.sweep if app.view.sweep is not None else bool(attacks.plan)
        app.change(replace(app.view, sweep=not shown))
    else:
        app.say("this run has not been attacked yet")


def reset(app: "Dashboard") -> None:
    app.change(View(Settings(theme=app.view.kept.theme)))


def filter_(app: "Dashboard") -> None:
    app.typing = app.view.filter


def help_(app: "Dashboard") -> None:
    app.dialog = Dialog("help", "Keys")


if TYPE_CHECKING:
    from afdctl.tui.app import Dashboard

RunAction = Callable[["Dashboard"], None]


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
    if isinstance(front, Replay) or front.writer is None:
        return "nothing is running here"
    return unreachable(front.writer)


def send(app: "Dashboard", number: signal.Signals, done: str) -> None:
    front = app.session.front
    try:
        writer = signal_writer(front.journal, number)
    except BusyError as error:
        app.say(str(error))
    except OSError as error:
        app.say(f"pid {front.pid}: {(error.strerror or '').lower()}")
    else:
        front.refresh_writer()
        if writer is None:
            app.say("nothing is running here any more")
        else:
            app.say(f"{front.name}: {done}")
            app.session.note(done, "note")


def play(app: "Dashboard") -> None:
    if isinstance(front := app.session.front, Replay):
        front.playing = not front.playing
    else:
        app.freeze()


def epoch(step: int) -> RunAction:
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


def _written(app: "Dashboard", write: Callable[[Frame], list[Path]]) -> None:
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
