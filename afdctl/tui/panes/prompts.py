"""The footer, and the dialogs over the panes: the help, a question, a list to choose from."""

from collections.abc import Sequence
from dataclasses import dataclass

from afdctl.tui.drawing.cells import Cells, Palette, Span, length


@dataclass(frozen=True)
class KeyHint:
    """A key's label and word in the footer, and the key that a click on them presses."""

    label: str
    word: str
    key: str


def draw_footer(hints: Sequence[KeyHint], width: int, palette: Palette, message: str = "") -> Cells:
    """Draw the last row: a message, or as many hints as fit."""
    cells = Cells(width, 1, palette)
    if message:
        cells.put(1, 0, (message, palette.ink("strong", bold=True)))
        return cells
    for x, hint in place_hints(hints, width):
        cells.put(x, 0, (hint.label, palette.ink("key", bold=True)), (f" {hint.word}", palette.ink("dim")))
    return cells


def place_hints(hints: Sequence[KeyHint], width: int) -> list[tuple[int, KeyHint]]:
    """Return the first column of each hint that fits. Room for the last hint, the help, is reserved."""
    # the help must stay reachable on a narrow terminal
    *others, last = hints
    placed, x = [], 1
    for hint in others:
        size = len(hint.label) + len(hint.word) + 3
        # a shorter one further on may still fit
        if x + size + len(last.word) + 3 <= width:
            placed.append((x, hint))
            x += size
    return [*placed, (x, last)] if x + len(last.word) + 2 <= width else placed


def hint_at(hints: Sequence[KeyHint], width: int, x: int) -> KeyHint | None:
    """Return the hint in column x of a footer of this width."""
    for begin, hint in place_hints(hints, width):
        if begin <= x < begin + len(hint.label) + len(hint.word) + 2:
            return hint
    return None


@dataclass(frozen=True, kw_only=True)
class Dialog:
    """A dialog by its `kind`: "help" (`help_rows`), "stop" (a question, y is `yes`) or "choose" (from `options`)."""

    kind: str
    title: str
    lines: Sequence[str] = ()
    yes: str = ""
    options: Sequence[str] = ()
    chosen: frozenset[str] = frozenset()
    selected: int = 0
    help_rows: Sequence[tuple[str, str]] = ()


def draw_dialog(cells: Cells, dialog: Dialog) -> None:
    """Draw a dialog over the middle of the cells."""
    rows = _dialog_rows(dialog, cells.palette, cells.height - 2)
    width = min(cells.width, max(length(row) for row in [*rows, [(dialog.title, 0)]]) + 6)
    height = min(cells.height, len(rows) + 2)
    box = Cells(width, height, cells.palette)
    box.frame([(dialog.title, cells.palette.ink("strong", bold=True))], focused=True)
    for y, row in enumerate(rows[: height - 2], 1):
        box.put(3, y, *row, end=width - 2)
    cells.paste((cells.width - width) // 2, (cells.height - height) // 2, box)


def _dialog_rows(dialog: Dialog, palette: Palette, height: int) -> list[list[Span]]:
    text, key = palette.ink("text"), palette.ink("key", bold=True)
    if dialog.kind == "help":
        rows: list[list[Span]] = [[(f"{label:<10}", key), (words, text)] for label, words in dialog.help_rows]
        # all keys must be visible at once, as the help does not scroll
        return rows if len(rows) <= height else _two_columns(rows, text)
    rows = [[(line, text)] for line in dialog.lines]
    if dialog.kind == "choose":
        keys = [("space", " choose  "), ("enter", " compare  "), ("esc", " back")]
        return [*rows, *_option_rows(dialog, palette, height), [("", text)], _key_row(keys, palette)]
    return [*rows, [("", text)], _key_row([("y", f" {dialog.yes}   "), ("n", " no")], palette)]


def _option_rows(dialog: Dialog, palette: Palette, height: int) -> list[list[Span]]:
    """Return the options; a list longer than the screen scrolls with the selected one."""
    # room for the blank line and the keys below them
    first = max(0, min(dialog.selected - height // 2, len(dialog.options) - height + 3))
    rows: list[list[Span]] = []
    for place, option in list(enumerate(dialog.options))[first : first + max(1, height - 3)]:
        selected = place == dialog.selected
        rows.append(
            [
                ("▸ " if selected else "  ", palette.ink("key", bold=True)),
                ("■ " if option in dialog.chosen else "□ ", palette.ink("good")),
                (option, palette.ink("strong", bold=True) if selected else palette.ink("text")),
            ]
        )
    return rows


def _key_row(keys: Sequence[tuple[str, str]], palette: Palette) -> list[Span]:
    key_ink, text = palette.ink("key", bold=True), palette.ink("text")
    return [span for key, word in keys for span in ((key, key_ink), (word, text))]


def _two_columns(rows: list[list[Span]], ink: int) -> list[list[Span]]:
    """Set the second half of the rows beside the first."""
    half = -(-len(rows) // 2)
    width = max(length(row) for row in rows[:half])
    left = [[*row, (" " * (width - length(row)), ink)] for row in rows[:half]]
    return [[*row, ("  ", ink), *other] for row, other in zip(left, [*rows[half:], []][:half], strict=False)]
