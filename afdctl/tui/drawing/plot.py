"""Curves on cells: a braille line of eight dots a cell, over the band between the least and the greatest value."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdctl.tui.drawing.axis import Floats, Range, format_tick
from afdctl.tui.drawing.cells import Cells, braille
from afdctl.tui.drawing.palette import Palette

BRAILLE, LOWER = 0x2800, 0x2580
"""The empty braille character; LOWER + n fills n eighths of a cell from below."""


@dataclass(frozen=True)
class Curve:
    """Values by dot column (two a cell). NaN: nothing there; `broken`: there was something, and it is no number."""

    mean: Floats
    broken: NDArray[np.bool_]
    colour: str
    letter: str = ""
    low: Floats | None = None
    high: Floats | None = None
    right: bool = False


@dataclass(frozen=True)
class Plot:
    """Curves on one or two axes. Ticks and marks of x are shares of the width."""

    curves: Sequence[Curve]
    y: Range
    right: Range | None = None
    goal: float | None = None
    ticks: Sequence[tuple[float, str]] = ()
    marks: Sequence[tuple[float, str]] = ()
    cursor: float | None = None


def margins(plot: Plot, height: int) -> tuple[int, int]:
    """How many columns the names of the ticks take at the left and at the right."""
    left = max((len(format_tick(tick)) for tick in y_ticks(plot.y, height)), default=1) + 1
    return max(left, 4), (4 if plot.right else 1)


def y_ticks(y: Range, height: int) -> list[float]:
    return y.ticks(max(2, (height - 1) // 4))


def draw(plot: Plot, width: int, height: int, left: int, right: int, palette: Palette) -> Cells:
    """The plot with its axes: `left` and `right` columns for the ticks of y, the last row for those of x."""
    cells = Cells(width, height, palette)
    field_width, field_height = width - left - right, height - 1
    if field_width < 2 or field_height < 1:
        return cells
    field = Cells(field_width, field_height, palette)
    _guides(field, plot)
    for curve in plot.curves:
        if curve.low is not None and curve.high is not None:
            _band(field, curve, plot.y, curve.low, curve.high)
    for mark, colour in plot.marks:
        _draw_vline(field, mark, "╎", colour)
    for curve in plot.curves:
        _line(field, curve, plot.right if curve.right and plot.right else plot.y)
    if plot.cursor is not None:
        _draw_vline(field, plot.cursor, "│", "focus")
    cells.paste(left, 0, field)
    _names(cells, plot, left, right)
    return cells


def _row(place: float, height: int) -> int:
    """The row of cells in which a share of the height lies."""
    return min(height - 1, max(0, int((1 - place) * height)))


def _guides(field: Cells, plot: Plot) -> None:
    faint = field.palette.ink("frame")
    for tick in y_ticks(plot.y, field.height + 1):
        field.put(0, _row(float(plot.y.place(np.array(tick))), field.height), ("┈" * field.width, faint))
    if plot.goal is not None:
        row = _row(float(plot.y.place(np.array(plot.goal))), field.height)
        field.put(0, row, ("╌" * field.width, field.palette.ink("dim")))


def _draw_vline(field: Cells, share: float, character: str, colour: str) -> None:
    if 0 <= share <= 1:
        column = min(field.width - 1, int(share * field.width))
        palette = field.palette
        for row in np.flatnonzero(field.codes[:, column] < LOWER).tolist():
            field.codes[row, column] = ord(character)
            # where a band lies behind it, it stays there
            field.inks[row, column] = palette.ink(colour, palette.ground_of(int(field.inks[row, column])))


def _band(field: Cells, curve: Curve, y: Range, lows: Floats, highs: Floats) -> None:
    low, high = y.place(lows), y.place(highs)
    if y.log:
        # the part at or below zero lies under the picture
        low = np.where(np.isnan(low) & np.isfinite(high), -1.0, low)
    if field.palette.tints:
        _fill_band(field, curve, np.fmin.reduce(_pairs(low), axis=1), np.fmax.reduce(_pairs(high), axis=1))
    else:
        _dot_band(field, low, high)
    _outside(field, curve, low, high)


def _pairs(values: Floats) -> Floats:
    return values.reshape(-1, 2)


def _fill_band(field: Cells, curve: Curve, low: Floats, high: Floats) -> None:
    """A coloured ground, whose edges are eighths of a cell."""
    palette, height = field.palette, field.height
    tint = f"{curve.colour}/0.2"
    there = np.isfinite(low) & np.isfinite(high)
    top = np.where(there, np.clip(np.round((1 - np.nan_to_num(high)) * height * 8), 0, height * 8), height * 8 + 8)
    bottom = np.where(there, np.clip(np.round((1 - np.nan_to_num(low)) * height * 8), 0, height * 8), -8)
    rows = np.arange(height)[:, None] * 8
    above, below = (np.clip(edge[None, :] - rows, 0, 8).astype(int) for edge in (top, bottom))
    filled = below - above
    full, upper, lower = (
        filled == 8,
        (filled > 0) & (above == 0) & (below < 8),
        (filled > 0) & (above > 0) & (below == 8),
    )
    thin = (filled > 0) & (above > 0) & (below < 8)
    field.inks[full] = palette.ink("frame", tint)
    field.codes[lower], field.inks[lower] = LOWER + 8 - above[lower], palette.ink(tint)
    field.codes[upper], field.inks[upper] = LOWER + 8 - below[upper], palette.ink("ground", tint)
    # thinner than a cell: the nearest half
    field.codes[thin], field.inks[thin] = ord("▄"), palette.ink(tint)
    field.codes[thin & (above + below < 8)] = ord("▀")


def _dot_band(field: Cells, low: Floats, high: Floats) -> None:
    """Every fourth dot, in grey: where colours are few, a coloured ground is loud."""
    rows = field.height * 4
    # a dot stands for both columns of its cell: a spike of one column must not fall between
    low, high = np.repeat(np.fmin.reduce(_pairs(low), axis=1), 2), np.repeat(np.fmax.reduce(_pairs(high), axis=1), 2)
    grid = np.arange(rows)[:, None]
    top, bottom = (np.floor((1 - np.nan_to_num(edge, nan=-9)) * rows) for edge in (high, low))
    inside = (grid >= top) & (grid <= np.minimum(bottom, rows)) & np.isfinite(high) & np.isfinite(low)
    inside[1::2, :] = False
    inside[:, 1::2] = False
    _draw_braille(field, inside, field.palette.ink("faint"))


def _outside(field: Cells, curve: Curve, low: Floats, high: Floats) -> None:
    """A mark at the edge where the band goes beyond it."""
    ink = field.palette.ink(curve.colour)
    for row, beyond, character in ((0, high > 1.0001, "▲"), (-1, (low < -0.0001) & (low != -1), "▼")):
        columns = np.flatnonzero(beyond.reshape(-1, 2).any(axis=1))
        field.codes[row, columns], field.inks[row, columns] = ord(character), ink


def _line(field: Cells, curve: Curve, y: Range) -> None:
    """Dots from each column to the next, also across columns without rows, but not across what is no number."""
    places, rows = y.place(curve.mean), field.height * 4
    known = np.flatnonzero(np.isfinite(places))
    if not len(known):
        return
    columns = np.arange(len(places))
    heights = np.clip((1 - np.interp(columns, known, places[known])) * rows - 0.5, 0, rows - 1)
    breaks = np.cumsum(curve.broken)
    # a column is part of the line if the numbers before and behind it have no break between them
    before, behind = np.searchsorted(known, columns, side="right") - 1, np.searchsorted(known, columns)
    inside = (before >= 0) & (behind < len(known))
    inside[inside] = breaks[known[before[inside]]] == breaks[known[behind[inside]]]
    half = np.where(inside[1:] & inside[:-1], (heights[1:] + heights[:-1]) / 2, np.nan)
    left, right = np.r_[np.nan, half], np.r_[half, np.nan]
    top = np.round(np.fmin(np.fmin(left, right), heights))
    bottom = np.round(np.fmax(np.fmax(left, right), heights))
    grid = np.arange(rows)[:, None]
    _draw_braille(
        field, (grid >= top) & (grid <= bottom) & inside, field.palette.ink(curve.colour), over_tint=curve.colour
    )
    if curve.letter:
        at = known[-1] // 2
        column, row = min(field.width - 1, at + 1), int(heights[known[-1]] // 4)
        field.put(column, row, (curve.letter, field.palette.ink(curve.colour, bold=True)))


def _draw_braille(field: Cells, dots: NDArray[np.bool_], ink: int, over_tint: str | None = None) -> None:
    """Put dots (4 h, 2 w) on the cells; on a ground of their own colour they keep it."""
    bits = braille(dots)
    drawn = bits > 0
    tinted = np.zeros_like(drawn)
    if over_tint and field.palette.tints:
        tint = f"{over_tint}/0.2"
        tinted = field.palette.on(tint)[field.inks] & (field.inks != field.palette.ink("ground", tint))
        partly = (field.inks == field.palette.ink(tint)) & (field.codes >= ord("▄"))
        tinted |= partly | ((field.inks == field.palette.ink("ground", tint)) & (field.codes <= ord("▄")))
        field.inks[drawn & tinted] = field.palette.ink(over_tint, tint)
    # two lines in one cell keep the dots of both; those of a band go
    same = drawn & (field.codes > BRAILLE) & (field.inks != field.palette.ink("faint"))
    field.codes[drawn] = BRAILLE + np.where(same[drawn], (field.codes[drawn] - BRAILLE) | bits[drawn], bits[drawn])
    field.inks[drawn & ~tinted] = ink


def _names(cells: Cells, plot: Plot, left: int, right: int) -> None:
    dim, height = cells.palette.ink("dim"), cells.height - 1
    for tick in y_ticks(plot.y, cells.height):
        cells.put_right(left - 1, _row(float(plot.y.place(np.array(tick))), height), (format_tick(tick), dim))
    if plot.right and right > 1:
        for tick in plot.right.ticks(2):
            cells.put(
                cells.width - right + 1, _row(float(plot.right.place(np.array(tick))), height), (format_tick(tick), dim)
            )
    taken = -1
    field_width = cells.width - left - right
    for share, name in plot.ticks:
        x = min(cells.width - len(name), max(0, left + round(share * (field_width - 1)) - len(name) // 2))
        if x > taken:
            taken = cells.put(x, height, (name, dim))
