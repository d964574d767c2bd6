"""Curves on cells: braille lines (2 x 4 dots per cell) over bands from minimum to maximum."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdctl.formatting import format_tick
from afdctl.tui.drawing.axis import Floats, Range
from afdctl.tui.drawing.cells import Cells, Palette, braille

# the empty braille character; LOWER + n fills n eighths of a cell from below
BRAILLE, LOWER = 0x2800, 0x2580


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Values by column of dots (two per cell). NaN is no value; `broken` marks columns whose values were not finite."""

    mean: Floats
    broken: NDArray[np.bool_]
    colour: str
    letter: str = ""
    low: Floats | None = None
    high: Floats | None = None
    right: bool = False


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Curves on one or two y axes. Ticks and marks of x are fractions of the width."""

    curves: Sequence[Curve]
    y: Range
    right: Range | None = None
    goal: float | None = None
    ticks: Sequence[tuple[float, str]] = ()
    marks: Sequence[tuple[float, str]] = ()
    cursor: float | None = None


def margins(plot: Plot, height: int) -> tuple[int, int]:
    """Return how many columns the y ticks take at the left and at the right."""
    left = max((len(format_tick(tick)) for tick in y_ticks(plot.y, height)), default=1) + 1
    return max(left, 4), (4 if plot.right else 1)


def y_ticks(y: Range, height: int) -> list[float]:
    return y.ticks(max(2, (height - 1) // 4))


def draw(plot: Plot, width: int, height: int, left: int, right: int, palette: Palette) -> Cells:
    """Draw a plot. `left` and `right` columns hold the ticks of y, the last row those of x."""
    cells = Cells(width, height, palette)
    field_width, field_height = width - left - right, height - 1
    if field_width < 2 or field_height < 1:
        return cells
    field = Cells(field_width, field_height, palette)
    _draw_guides(field, plot)
    for curve in plot.curves:
        if curve.low is not None and curve.high is not None:
            _draw_band(field, curve, plot.y, curve.low, curve.high)
    for mark, colour in plot.marks:
        _draw_vline(field, mark, "╎", colour)
    for curve in plot.curves:
        _draw_line(field, curve, plot.right if curve.right and plot.right else plot.y)
    if plot.cursor is not None:
        _draw_vline(field, plot.cursor, "│", "focus")
    cells.paste(left, 0, field)
    _draw_tick_labels(cells, plot, left, right)
    return cells


def _row_of(axis: Range, value: float, height: int) -> int:
    """Return the row of cells at a value."""
    fraction = float(axis.fraction(np.array(value)))
    return min(height - 1, max(0, int((1 - fraction) * height)))


def _draw_guides(field: Cells, plot: Plot) -> None:
    """Draw dotted lines at the ticks, and a dashed one at the goal."""
    faint = field.palette.ink("frame")
    for tick in y_ticks(plot.y, field.height + 1):
        field.put(0, _row_of(plot.y, tick, field.height), ("┈" * field.width, faint))
    if plot.goal is not None:
        field.put(0, _row_of(plot.y, plot.goal, field.height), ("╌" * field.width, field.palette.ink("dim")))


def _draw_vline(field: Cells, fraction: float, character: str, colour: str) -> None:
    """Draw a vertical line behind the curves, at a fraction of the width."""
    if 0 <= fraction <= 1:
        column = min(field.width - 1, int(fraction * field.width))
        palette = field.palette
        for row in np.flatnonzero(field.codes[:, column] < LOWER).tolist():
            field.codes[row, column] = ord(character)
            # the band behind it stays visible
            field.inks[row, column] = palette.ink(colour, palette.ground_of(int(field.inks[row, column])))


def _draw_band(field: Cells, curve: Curve, y: Range, lows: Floats, highs: Floats) -> None:
    low, high = y.fraction(lows), y.fraction(highs)
    if y.log:
        # a lower edge at or below zero is below the plot
        low = np.where(np.isnan(low) & np.isfinite(high), -1.0, low)
    if field.palette.tints:
        _fill_band(field, curve, np.fmin.reduce(_pairs(low), axis=1), np.fmax.reduce(_pairs(high), axis=1))
    else:
        _dot_band(field, low, high)
    _mark_overflow(field, curve, low, high)


def _pairs(values: Floats) -> Floats:
    """Return the values of the two dot columns of each cell."""
    return values.reshape(-1, 2)


def _fill_band(field: Cells, curve: Curve, low: Floats, high: Floats) -> None:
    """Fill the band with a tinted background, to an eighth of a cell."""
    palette, height = field.palette, field.height
    tint = f"{curve.colour}/0.2"
    present = np.isfinite(low) & np.isfinite(high)
    top = np.where(present, np.clip(np.round((1 - np.nan_to_num(high)) * height * 8), 0, height * 8), height * 8 + 8)
    bottom = np.where(present, np.clip(np.round((1 - np.nan_to_num(low)) * height * 8), 0, height * 8), -8)
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
    # a band thinner than a cell fills the nearer half
    field.codes[thin], field.inks[thin] = ord("▄"), palette.ink(tint)
    field.codes[thin & (above + below < 8)] = ord("▀")


def _dot_band(field: Cells, low: Floats, high: Floats) -> None:
    """Draw the band as every fourth dot, in grey: with 256 colours, tints are too bright."""
    rows = field.height * 4
    # a dot shows both columns of its cell, so that a spike of one column is not lost
    low, high = np.repeat(np.fmin.reduce(_pairs(low), axis=1), 2), np.repeat(np.fmax.reduce(_pairs(high), axis=1), 2)
    grid = np.arange(rows)[:, None]
    top, bottom = (np.floor((1 - np.nan_to_num(edge, nan=-9)) * rows) for edge in (high, low))
    inside = (grid >= top) & (grid <= np.minimum(bottom, rows)) & np.isfinite(high) & np.isfinite(low)
    inside[1::2, :] = False
    inside[:, 1::2] = False
    _draw_braille(field, inside, field.palette.ink("faint"))


def _mark_overflow(field: Cells, curve: Curve, low: Floats, high: Floats) -> None:
    """Mark the edge where the band leaves the plot."""
    ink = field.palette.ink(curve.colour)
    for row, beyond, character in ((0, high > 1.0001, "▲"), (-1, (low < -0.0001) & (low != -1), "▼")):
        columns = np.flatnonzero(beyond.reshape(-1, 2).any(axis=1))
        field.codes[row, columns], field.inks[row, columns] = ord(character), ink


def _draw_line(field: Cells, curve: Curve, y: Range) -> None:
    """Connect the values. The line bridges columns without values, but not those whose values were not finite."""
    fractions, rows = y.fraction(curve.mean), field.height * 4
    finite = np.flatnonzero(np.isfinite(fractions))
    if not len(finite):
        return
    columns = np.arange(len(fractions))
    heights = np.clip((1 - np.interp(columns, finite, fractions[finite])) * rows - 0.5, 0, rows - 1)
    breaks = np.cumsum(curve.broken)
    # a column belongs to the line if there is no break between the values before and after it
    before, after = np.searchsorted(finite, columns, side="right") - 1, np.searchsorted(finite, columns)
    inside = (before >= 0) & (after < len(finite))
    inside[inside] = breaks[finite[before[inside]]] == breaks[finite[after[inside]]]
    # each column's dots reach halfway to its neighbours'
    half = np.where(inside[1:] & inside[:-1], (heights[1:] + heights[:-1]) / 2, np.nan)
    left, right = np.r_[np.nan, half], np.r_[half, np.nan]
    top = np.round(np.fmin(np.fmin(left, right), heights))
    bottom = np.round(np.fmax(np.fmax(left, right), heights))
    grid = np.arange(rows)[:, None]
    _draw_braille(
        field, (grid >= top) & (grid <= bottom) & inside, field.palette.ink(curve.colour), over_tint=curve.colour
    )
    if curve.letter:
        column, row = min(field.width - 1, finite[-1] // 2 + 1), int(heights[finite[-1]] // 4)
        field.put(column, row, (curve.letter, field.palette.ink(curve.colour, bold=True)))


def _draw_braille(field: Cells, dots: NDArray[np.bool_], ink: int, over_tint: str | None = None) -> None:
    """Draw dots (4 h, 2 w) as braille characters. On a band of the curve's own colour the band stays visible."""
    bits = braille(dots)
    drawn = bits > 0
    tinted = np.zeros_like(drawn)
    if over_tint and field.palette.tints:
        tint = f"{over_tint}/0.2"
        tinted = field.palette.has_ground(tint)[field.inks] & (field.inks != field.palette.ink("ground", tint))
        partly = (field.inks == field.palette.ink(tint)) & (field.codes >= ord("▄"))
        tinted |= partly | ((field.inks == field.palette.ink("ground", tint)) & (field.codes <= ord("▄")))
        field.inks[drawn & tinted] = field.palette.ink(over_tint, tint)
    # two lines in a cell keep the dots of both; they replace the dots of a band
    has_line = drawn & (field.codes > BRAILLE) & (field.inks != field.palette.ink("faint"))
    field.codes[drawn] = BRAILLE + np.where(has_line[drawn], (field.codes[drawn] - BRAILLE) | bits[drawn], bits[drawn])
    field.inks[drawn & ~tinted] = ink


def _draw_tick_labels(cells: Cells, plot: Plot, left: int, right: int) -> None:
    dim, height = cells.palette.ink("dim"), cells.height - 1
    for tick in y_ticks(plot.y, cells.height):
        cells.put_right(left - 1, _row_of(plot.y, tick, height), (format_tick(tick), dim))
    if plot.right and right > 1:
        for tick in plot.right.ticks(2):
            cells.put(cells.width - right + 1, _row_of(plot.right, tick, height), (format_tick(tick), dim))
    label_end = -1
    field_width = cells.width - left - right
    for fraction, label in plot.ticks:
        x = min(cells.width - len(label), max(0, left + round(fraction * (field_width - 1)) - len(label) // 2))
        if x > label_end:
            label_end = cells.put(x, height, (label, dim))
