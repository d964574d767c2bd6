"""What lies over the panes for a moment: the keys, a question, a list to choose from."""

from collections.abc import Sequence
from dataclasses import dataclass

from afdctl.tui.drawing.cells import Cells, Span, length
from afdctl.tui.drawing.palette import Palette

KEYS = (
    ("q", "leave; the training goes on"),
    ("x k", "stop the run, saved; checkpoint now"),
    ("p space", "freeze the view"),
    ("s S", "smoothing: 0, 0.6, 0.9, 0.98, 0.995"),
    ("y", "logarithmic y"),
    ("l", "x: steps, epochs, time at work"),
    ("w W", "window: so far, plan, last 10 %, last 1,000"),
    ("+ -", "zoom (also the wheel)"),
    ("← →", "cursor on logged steps; shift: ten columns"),
    ("enter", "one chart only (also a double click)"),
    ("tab", "next chart"),
    ("pgup pgdn", "other charts"),
    ("esc", "back: cursor, zoom, chart"),
    ("1 2 3", "game, accuracy, system"),
    ("4 5", "log, output of the trainer, none; header"),
    ("v t", "training or attacks; dark or light"),
    ("/", "filter log and charts"),
    ("c", "compare runs"),
    ("r b", "band of least and greatest; best epoch"),
    ("[ ] .", "replay: back, on; pause"),
    ("e E", "SVG of the screen; text and CSV"),
    ("0 ctrl+z", "forget settings; suspend"),
)


@dataclass(frozen=True)
class Dialog:
    """A question (`yes` is the action of y), a list (`options`, `chosen`, `at`), or the keys (`kind`)."""

    kind: str
    title: str
    lines: Sequence[str] = ()
    yes: str = ""
    options: Sequence[str] = ()
    chosen: frozenset[str] = frozenset()
    at: int = 0


def draw(cells: Cells, dialog: Dialog) -> None:
    """Draw a dialog over the middle of the cells."""
    rows = _rows(dialog, cells.palette, cells.height - 2)
    width = min(cells.width, max(length(row) for row in [*rows, [(dialog.title, 0)]]) + 6)
    height = min(cells.height, len(rows) + 2)
    box = Cells(width, height, cells.palette)
    box.frame([(dialog.title, cells.palette.ink("strong", bold=True))], focused=True)
    for y, row in enumerate(rows[: height - 2], 1):
        box.put(3, y, *row, end=width - 2)
    cells.paste((cells.width - width) // 2, (cells.height - height) // 2, box)


def _rows(dialog: Dialog, palette: Palette, room: int) -> list[list[Span]]:
    text, key = palette.ink("text"), palette.ink("key", bold=True)
    if dialog.kind == "help":
        rows: list[list[Span]] = [[(f"{name:<10}", key), (words, text)] for name, words in KEYS]
        return rows if len(rows) <= room else [[*one, ("  ", text), *two] for one, two in _halves(rows, text)]
    rows = [[(line, text)] for line in dialog.lines]
    if dialog.kind == "choose":
        # the list moves with the mark where it is longer than the screen
        first = max(0, min(dialog.at - room // 2, len(dialog.options) - room + 3))
        for place, option in list(enumerate(dialog.options))[first : first + max(1, room - 3)]:
            mark = "■" if option in dialog.chosen else "□"
            ink = palette.ink("strong", bold=True) if place == dialog.at else text
            rows.append([("▸ " if place == dialog.at else "  ", key), (f"{mark} ", palette.ink("good")), (option, ink)])
        return [
            *rows,
            [("", text)],
            [("space", key), (" choose  ", text), ("enter", key), (" compare  ", text), ("esc", key), (" back", text)],
        ]
    return [*rows, [("", text)], [("y", key), (f" {dialog.yes}   ", text), ("n", key), (" no", text)]]


def _halves(rows: list[list[Span]], ink: int) -> list[tuple[list[Span], list[Span]]]:
    half = -(-len(rows) // 2)
    wide = max(length(row) for row in rows[:half])
    left = [[*row, (" " * (wide - length(row)), ink)] for row in rows[:half]]
    return list(zip(left, [*rows[half:], []][:half], strict=False))
