"""Draw plots of analyses as text for a terminal: curves over one x, and points by class."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from afdctl.formatting import format_tick
from afdctl.tui.drawing.axis import Floats, Range, fit
from afdctl.tui.drawing.cells import Cells
from afdctl.tui.drawing.palette import COMPARED, Palette
from afdctl.tui.drawing.plot import Curve, Plot, draw, margins

HEIGHT = 15
MAX_WIDTH = 100
# marks of the points of the first classes; others are dots
CLASS_MARKS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Line(NamedTuple):
    """Points (x, y), x ascending."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def draw_curves(lines: Sequence[Line], width: int) -> str:
    """Draw lines over one x, with their names above, on at most `width` columns; returns text with colour escapes."""
    palette, width = _palette(), min(width, MAX_WIDTH)
    cells = Cells(width, HEIGHT + 1, palette)
    y = fit([np.asarray(line.y, np.float64) for line in lines])
    left, right = margins(Plot([], y), HEIGHT)
    x = Range(min(line.x[0] for line in lines), max(line.x[-1] for line in lines))
    columns = np.linspace(x.low, x.high, 2 * (width - left - right))
    curves, column = [], left
    for line, colour in zip(lines, COMPARED * len(lines), strict=False):
        column = cells.put(column, 0, ("── ", palette.ink(colour)), (f"{line.name}   ", palette.ink("text")))
        values = np.interp(columns, line.x, line.y, left=np.nan, right=np.nan)
        letter = line.name[0] if palette.depth == "none" else ""
        curves.append(Curve(values, np.zeros(len(columns), bool), colour, letter))
    ticks = [(float(x.fraction(np.array(tick))), format_tick(tick)) for tick in x.ticks(max(2, width // 12))]
    cells.paste(0, 1, draw(Plot(curves, y, ticks=ticks), width, HEIGHT, left, right, palette))
    return cells.ansi()


def draw_scatters(points: Mapping[str, Floats], label: NDArray[np.int32], width: int) -> str:
    """Draw fields of points (n, 2) side by side on common axes, by title; `label` (n,) decides mark and colour."""
    palette, width = _palette(), min(width, MAX_WIDTH)
    cells = Cells(width, HEIGHT + 6, palette)
    all_points = np.concatenate(list(points.values()))
    lowest, spans = all_points.min(axis=0), np.ptp(all_points, axis=0)
    field_width = width // len(points)
    for number, (title, positions) in enumerate(points.items()):
        field = Cells(field_width - 1, cells.height, palette)
        field.frame([(title, palette.ink("strong", bold=True))])
        shares = (positions - lowest) / np.where(spans > 0, spans, 1)
        for (x, y), class_number in zip(shares.tolist(), label.tolist(), strict=True):
            mark = CLASS_MARKS[class_number] if class_number < len(CLASS_MARKS) else "·"
            cell = 1 + int(x * (field.width - 3)), 1 + int((1 - y) * (field.height - 3))
            field.put(*cell, (mark, palette.ink(COMPARED[class_number % len(COMPARED)])))
        cells.paste(number * field_width, 0, field)
    return cells.ansi()


def _palette() -> Palette:
    return Palette(depth="none" if "NO_COLOR" in os.environ else "true")
