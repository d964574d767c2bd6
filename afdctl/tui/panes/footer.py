"""The lower edge: the keys that matter here, as many as fit; they can be clicked."""

from dataclasses import dataclass

from afdctl.tui.drawing.cells import Cells
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.snapshot import Snapshot


@dataclass(frozen=True)
class Hint:
    """A key, what it does in a word, and the action behind it."""

    key: str
    word: str
    action: str


def hints(facts: Snapshot) -> list[Hint]:
    """The keys, the most important first."""
    view, over = facts.view, facts.state.over
    found = [Hint("q", "quit" if over or not facts.owner else "detach", "leave")]
    if view.cursor is not None or view.maximised or view.zoom:
        found.append(Hint("esc", "back", "back"))
    if facts.replay:
        found += [Hint(".", "play, pause", "play"), Hint("[ ]", "epoch back, on", "replay(1)")]
    if not over and not facts.read_only:
        found.append(Hint("x", "stop", "stop"))
    found.append(Hint("p", "go on" if view.frozen else "freeze", "freeze"))
    if facts.history.sweep.cells:
        found.append(Hint("v", "training" if facts.shows_sweep else "attacks", "sweep"))
    if not facts.shows_sweep:
        found += [Hint("s", "smooth", "smooth(1)"), Hint("y", "log y", "log_y"), Hint("l", "x axis", "axis")]
        found += [Hint("w", "window", "window(1)"), Hint("enter", "grow", "maximise")]
    if not over and not facts.read_only and not facts.history.end:
        found.append(Hint("k", "checkpoint", "save"))
    found.append(Hint("c", "compare", "compare"))
    if not facts.served:
        found.append(Hint("e", "picture", "picture"))
    return [*found, Hint("?", "keys", "help")]


def draw(facts: Snapshot, width: int, palette: Palette, prompt: str = "") -> Cells:
    """One row."""
    cells = Cells(width, 1, palette)
    for x, hint in placed(facts, width):
        cells.put(x, 0, (hint.key, palette.ink("key", bold=True)), (f" {hint.word}", palette.ink("dim")))
    return cells


def placed(facts: Snapshot, width: int) -> list[tuple[int, Hint]]:
    """The columns of the hints. The help keeps its place at the end of the row."""
    *most, last = hints(facts)
    found, x = [], 1
    for hint in most:
        size = len(hint.key) + len(hint.word) + 3
        if x + size + len(last.word) + 3 <= width:
            found.append((x, hint))
            x += size
    return [*found, (x, last)] if x + len(last.word) + 2 <= width else found


def at(facts: Snapshot, width: int, x: int) -> Hint | None:
    """The hint under column x."""
    for begin, hint in placed(facts, width):
        if begin <= x < begin + len(hint.key) + len(hint.word) + 2:
            return hint
    return None
