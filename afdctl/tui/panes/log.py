"""The log pane: the journal's events, or the trainer's output."""

import time
from collections.abc import Sequence

from afdctl.tui.drawing.cells import Cells, Palette
from afdctl.tui.state.log_entries import LogEntry
from afdctl.tui.view import Snapshot

COLOURS = {
    "checkpoint": "dim",
    "epoch": "L_C",
    "test": "good",
    "warn": "warn",
    "alarm": "bad",
    "end": "good",
    "start": "d_hdh",
    "resume": "d_hdh",
    "sweep": "d_hdh",
    "cell": "L_C",
}
# kinds whose text has the colour too
SERIOUS = ("warn", "alarm")
# the column of kinds grows for "resume" and "checkpoint" only where they are shown
MIN_KIND_WIDTH = 5
NO_MATCH = "nothing matches the filter"


def draw(snapshot: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """Draw the newest lines, the last one at the bottom."""
    cells = Cells(width, height, palette)
    output = snapshot.view.log == "output"
    title = "Output of the trainer" if output else "Log"
    filter_text = f"filter '{snapshot.view.filter}'" if snapshot.view.filter else ""
    right = [(filter_text, palette.ink("dim"))] if filter_text else []
    cells.frame([(title, palette.ink("strong", bold=True))], right)
    if output:
        _draw_output(cells, snapshot)
        return cells
    entries = select_entries(snapshot, height - 2)
    if not entries and filter_text:
        cells.put(2, 1, (NO_MATCH, palette.ink("dim")), end=width - 1)
    kind_width = max(MIN_KIND_WIDTH, *(len(entry.kind) for entry in entries)) if entries else MIN_KIND_WIDTH
    for y, entry in enumerate(entries, 1):
        clock = time.strftime("%H:%M:%S", time.localtime(entry.t))
        kind = f" {entry.kind:<{kind_width}} ", palette.ink(COLOURS.get(entry.kind, "text"))
        x = cells.put(2, y, (clock, palette.ink("faint")), kind)
        ink = palette.ink(COLOURS[entry.kind] if entry.kind in SERIOUS else "text")
        cells.put(x, y, (entry.text, ink), end=width - 1)
    return cells


def _draw_output(cells: Cells, snapshot: Snapshot) -> None:
    words, rows = snapshot.view.filter.casefold(), cells.height - 2
    lines = [line for line in snapshot.output if words in line.casefold()][-rows:]
    ink = cells.palette.ink("text" if lines else "dim")
    reason = NO_MATCH if snapshot.output else "it has printed nothing"
    for y, line in enumerate(lines or [reason], 1):
        cells.put(2, y, (line, ink), end=cells.width - 1)


def select_entries(snapshot: Snapshot, number: int) -> Sequence[LogEntry]:
    """Return the last `number` entries that match the filter, and the dashboard's own notes among them."""
    words = snapshot.view.filter.casefold()
    entries = [entry for entry in snapshot.history.entries if words in f"{entry.kind} {entry.text}".casefold()]
    # without a filter, checkpoints would fill most of the log
    if not words:
        entries = [entry for entry in entries if entry.kind != "checkpoint"] or entries
    return sorted([*entries[-number:], *snapshot.notes], key=lambda entry: entry.t)[-number:] if number > 0 else []
