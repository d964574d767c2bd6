"""The log: the journal's events, or what the trainer printed."""

import time
from collections.abc import Sequence

from afdctl.tui.drawing.cells import Cells
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.snapshot import Snapshot
from afdctl.tui.state.history import LogEntry

COLOURS = {
    "checkpoint": "dim",
    "epoch": "L_C",
    "test": "good",
    "warn": "warn",
    "end": "good",
    "start": "d_hdh",
    "resume": "d_hdh",
    "sweep": "d_hdh",
    "cell": "L_C",
}


def draw(facts: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """The newest lines, the last one lowest."""
    cells = Cells(width, height, palette)
    output = facts.view.log == "output"
    name = "Output of the trainer" if output else "Log"
    shown = f"filter '{facts.view.filter}'" if facts.view.filter else ""
    cells.frame([(name, palette.ink("strong", bold=True))], [(shown, palette.ink("dim"))] if shown else [])
    room = height - 2
    if output:
        lines = [line for line in facts.output if facts.view.filter.casefold() in line.casefold()][-room:]
        for y, line in enumerate(lines or ["it has printed nothing"], 1):
            cells.put(2, y, (line, palette.ink("text" if lines else "dim")), end=width - 1)
        return cells
    for y, entry in enumerate(entries(facts, room), 1):
        clock = time.strftime("%H:%M:%S", time.localtime(entry.t))
        x = cells.put(
            2, y, (clock, palette.ink("faint")), (f" {entry.kind:<5} ", palette.ink(COLOURS.get(entry.kind, "text")))
        )
        cells.put(x, y, (entry.text, palette.ink("warn" if entry.kind == "warn" else "text")), end=width - 1)
    return cells


def entries(facts: Snapshot, number: int) -> Sequence[LogEntry]:
    """The last entries that the filter lets through, those of the dashboard itself among them."""
    wanted = facts.view.filter.casefold()
    found = [entry for entry in facts.history.entries if wanted in f"{entry.kind} {entry.text}".casefold()]
    # most of a log is checkpoints: an epoch's own says it already
    if not wanted:
        found = [entry for entry in found if entry.kind != "checkpoint"] or found
    return sorted([*found[-number:], *facts.notes], key=lambda entry: entry.t)[-number:] if number > 0 else []
