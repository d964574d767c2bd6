"""The keys: one table of what they do and of what the footer and the help say about them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from afdctl.tui import actions
from afdctl.tui.actions import Action, ActionContext
from afdctl.tui.panes.prompts import Dialog, KeyHint
from afdctl.tui.view import Settings, Snapshot, View

Condition = Callable[[Snapshot], bool]


def _always(_: Snapshot) -> bool:
    return True


@dataclass(frozen=True)
class Hint:
    """A word for the footer. Hints are ordered by rank, and the last ones are left out where space is short."""

    rank: int
    label: str
    word: str | Callable[[Snapshot], str]
    when: Condition = _always


@dataclass(frozen=True)
class Binding:
    """The action of one or several keys.

    `help` is a row of the help dialog; it also describes the bindings after this one, up to the next row. A `local`
    action sends signals or writes files, which a browser may not.
    """

    action: Action
    help: tuple[str, str] | None = None
    hint: Hint | None = None
    local: bool = False


def show_help(app: ActionContext) -> None:
    """Open the dialog that lists the keys."""
    app.dialog = Dialog(
        kind="help", title="Keys", help_rows=[binding.help for binding in BINDINGS.values() if binding.help]
    )


def edit_filter(app: ActionContext) -> None:
    """Start typing a filter for log and charts."""
    app.filter_input = app.view.filter


def _leave_word(snapshot: Snapshot) -> str:
    return "detach" if snapshot.owner and not snapshot.state.over else "quit"


def _freeze_word(snapshot: Snapshot) -> str:
    return "continue" if snapshot.view.frozen else "freeze"


def _sweep_word(snapshot: Snapshot) -> str:
    return "training" if snapshot.shows_sweep else "attacks"


def _can_go_back(snapshot: Snapshot) -> bool:
    view = snapshot.view
    return view.cursor is not None or bool(view.filter or view.maximised or view.zoom)


def _can_stop(snapshot: Snapshot) -> bool:
    return not snapshot.state.over and not snapshot.read_only


def _can_save(snapshot: Snapshot) -> bool:
    # a training that has ended has saved all there is
    return _can_stop(snapshot) and not snapshot.history.end


def _has_attacks(snapshot: Snapshot) -> bool:
    return bool(snapshot.history.sweep.cells)


def _has_charts(snapshot: Snapshot) -> bool:
    return not snapshot.shows_sweep


def _is_replay(snapshot: Snapshot) -> bool:
    return bool(snapshot.replay)


def _is_local(snapshot: Snapshot) -> bool:
    return not snapshot.served


# by keys, in Textual's names
BINDINGS = {
    "q ctrl+q": Binding(
        lambda app: app.leave(),
        help=("q", "quit or detach; the training continues"),
        hint=Hint(1, "q", _leave_word),
    ),
    # what it does depends on who started the training, so no hint names it
    "ctrl+c": Binding(actions.interrupt),
    "x": Binding(
        actions.ask_to_stop,
        help=("x k", "stop the run (it saves); checkpoint now"),
        hint=Hint(5, "x", "stop", _can_stop),
        local=True,
    ),
    "k": Binding(actions.request_checkpoint, hint=Hint(13, "k", "checkpoint", _can_save), local=True),
    "p space": Binding(actions.freeze, help=("p space", "freeze the view"), hint=Hint(6, "p", _freeze_word)),
    "s": Binding(
        lambda app: app.view.next_beta(1),
        help=("s S", "smoothing: 0, 0.6, 0.9, 0.98, 0.995"),
        hint=Hint(8, "s", "smooth", _has_charts),
    ),
    "S": Binding(lambda app: app.view.next_beta(-1)),
    "y": Binding(
        lambda app: app.view.with_settings(log_y=not app.view.settings.log_y),
        help=("y", "logarithmic y"),
        hint=Hint(9, "y", "log y", _has_charts),
    ),
    "l": Binding(
        lambda app: app.view.next_axis(),
        help=("l", "x: steps, epochs, training time"),
        hint=Hint(10, "l", "x axis", _has_charts),
    ),
    "w": Binding(
        lambda app: app.view.next_window(1),
        help=("w W", "window: so far, plan, last 10 %, last 1,000"),
        hint=Hint(11, "w", "window", _has_charts),
    ),
    "W": Binding(lambda app: app.view.next_window(-1)),
    "plus equals_sign": Binding(partial(actions.zoom, factor=0.5), help=("+ -", "zoom (also the wheel)")),
    "minus": Binding(partial(actions.zoom, factor=2.0)),
    "left": Binding(
        partial(actions.move_cursor, columns=-1),
        help=("← →", "cursor on logged steps; shift: ten columns"),
    ),
    "right": Binding(partial(actions.move_cursor, columns=1)),
    "shift+left": Binding(partial(actions.move_cursor, columns=-10)),
    "shift+right": Binding(partial(actions.move_cursor, columns=10)),
    "enter": Binding(
        actions.maximise,
        help=("enter", "one chart only (also a double click)"),
        hint=Hint(12, "enter", "grow", _has_charts),
    ),
    "tab": Binding(partial(actions.focus, step=1), help=("tab", "next chart")),
    "shift+tab": Binding(partial(actions.focus, step=-1)),
    "pagedown": Binding(partial(actions.turn_page, step=1), help=("pgup pgdn", "other charts")),
    "pageup": Binding(partial(actions.turn_page, step=-1)),
    "escape": Binding(
        actions.back,
        help=("esc", "back: filter, cursor, zoom, chart"),
        hint=Hint(2, "esc", "back", _can_go_back),
    ),
    "1": Binding(partial(actions.toggle_pane, name="health"), help=("1 2 3", "health, accuracy, system")),
    "2": Binding(partial(actions.toggle_pane, name="accuracy")),
    "3": Binding(partial(actions.toggle_pane, name="system")),
    "4": Binding(actions.next_log, help=("4 5", "log, output of the trainer, none; header")),
    "5": Binding(partial(actions.toggle_pane, name="header")),
    "v": Binding(
        actions.toggle_sweep,
        help=("v t", "training or attacks; dark or light"),
        hint=Hint(7, "v", _sweep_word, _has_attacks),
    ),
    "t": Binding(lambda app: app.view.with_settings(theme="light" if app.palette.dark else "dark")),
    "slash": Binding(edit_filter, help=("/", "filter log and charts")),
    "c": Binding(actions.choose_compared, help=("c", "compare runs"), hint=Hint(14, "c", "compare")),
    "r": Binding(
        lambda app: app.view.with_settings(raw=not app.view.settings.raw),
        help=("r b", "band of minimum and maximum; best epoch"),
    ),
    "b": Binding(lambda app: app.view.with_settings(best=not app.view.settings.best)),
    "left_square_bracket": Binding(
        partial(actions.move_replay, epochs=-1),
        help=("[ ] .", "replay: back, forward; pause"),
    ),
    "right_square_bracket": Binding(
        partial(actions.move_replay, epochs=1),
        hint=Hint(4, "[ ]", "epoch back, forward", _is_replay),
    ),
    "full_stop": Binding(actions.play_or_freeze, hint=Hint(3, ".", "play, pause", _is_replay)),
    "e": Binding(
        lambda app: app.write_svg(),
        help=("e E", "SVG of the screen; text and CSV"),
        hint=Hint(15, "e", "picture", _is_local),
        local=True,
    ),
    "E": Binding(lambda app: app.write_text(), local=True),
    # the theme fits the terminal and is no choice of what to see
    "0": Binding(
        lambda app: View(Settings(theme=app.view.settings.theme)),
        help=("0 ctrl+z", "forget settings; suspend"),
    ),
    # a browser has no shell to return to
    "ctrl+z": Binding(lambda app: app.action_suspend_process(), local=True),
    "question_mark h": Binding(show_help, hint=Hint(16, "?", "keys")),
}
BINDING_OF_KEY = {key: binding for keys, binding in BINDINGS.items() for key in keys.split()}


def hints(snapshot: Snapshot) -> list[KeyHint]:
    """Return the footer's hints for this moment, most important first."""
    shown = []
    for keys, binding in BINDINGS.items():
        hint = binding.hint
        if hint and hint.when(snapshot):
            word = hint.word if isinstance(hint.word, str) else hint.word(snapshot)
            shown.append((hint.rank, KeyHint(hint.label, word, keys.split()[0])))
    return [hint for _, hint in sorted(shown, key=lambda ranked: ranked[0])]


def press(app: ActionContext, key: str, character: str | None) -> None:
    """Handle a key: in the filter's input line, in a dialog, or by its binding."""
    if app.filter_input is not None:
        _type_filter(app, app.filter_input, key, character)
    elif app.dialog:
        actions.answer_dialog(app, app.dialog, key)
    else:
        run_binding(app, key)


def run_binding(app: ActionContext, key: str) -> None:
    """Run the action of a key. In a browser, actions on the run and on files do nothing."""
    binding = BINDING_OF_KEY.get(key)
    if binding and not (binding.local and app.session.options.served):
        view = binding.action(app)
        if view is not None:
            app.change_view(view)


def _type_filter(app: ActionContext, text: str, key: str, character: str | None) -> None:
    if key == "ctrl+c":
        # it leaves, even while a filter is typed
        app.filter_input = None
        run_binding(app, key)
    elif key in ("enter", "escape"):
        app.filter_input = None
        # another filter selects other charts, so it shows their first page
        app.change_view(replace(app.view, filter=text if key == "enter" else "", page=0))
    elif key == "backspace":
        app.filter_input = text[:-1]
    elif character and character.isprintable():
        app.filter_input = text + character
