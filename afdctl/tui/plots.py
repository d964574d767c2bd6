"""Plots of analyses for a terminal, printed as they are: curves over one x, and points by class."""

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
WIDEST = 100
MARKS = "0123456789abcdefghijklmnopqrstuvwxyz"
"""What points of the first classes are drawn as; others are dots."""


class Line(NamedTuple):
    """Points (x, y), x rising."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def draw_curves(lines: Sequence[Line], width: int) -> str:
    """Lines over one x, with their names above, on at most `width` columns; with the escapes that colour them."""
    palette, width = _palette(), min(width, WIDEST)
    cells = Cells(width, HEIGHT + 1, palette)
    y = fit([np.asarray(line.y, np.float64) for line in lines])
    left, right = margins(Plot([], y), HEIGHT)
    x = Range(min(line.x[0] for line in lines), max(line.x[-1] for line in lines))
    columns = np.linspace(x.low, x.high, 2 * (width - left - right))
    drawn, at = [], left
    for line, colour in zip(lines, COMPARED * len(lines), strict=False):
        at = cells.put(at, 0, ("── ", palette.ink(colour)), (f"{line.name}   ", palette.ink("text")))
        values = np.interp(columns, line.x, line.y, left=np.nan, right=np.nan)
        letter = line.name[0] if palette.depth == "none" else ""
        drawn.append(Curve(values, np.zeros(len(columns), bool), colour, letter))
    ticks = [(float(x.fraction(np.array(tick))), format_tick(tick)) for tick in x.ticks(max(2, width // 12))]
    cells.paste(0, 1, draw(Plot(drawn, y, ticks=ticks), width, HEIGHT, left, right, palette))
    return cells.ansi()


def draw_scatters(points: Mapping[str, Floats], label: NDArray[np.int32], width: int) -> str:
    """Fields side by side: title -> points (n, 2) on common axes, each drawn as its class in `label` (n,)."""
    palette, width = _palette(), min(width, WIDEST)
    cells = Cells(width, HEIGHT + 6, palette)
    every = np.concatenate(list(points.values()))
    lowest, spans = every.min(axis=0), np.ptp(every, axis=0)
    each = width // len(points)
    for number, (title, places) in enumerate(points.items()):
        field = Cells(each - 1, cells.height, palette)
        field.frame([(title, palette.ink("strong", bold=True))])
        shares = (places - lowest) / np.where(spans > 0, spans, 1)
        for (x, y), of in zip(shares.tolist(), label.tolist(), strict=True):
            mark = MARKS[of] if of < len(MARKS) else "·"
            place = 1 + int(x * (field.width - 3)), 1 + int((1 - y) * (field.height - 3))
            field.put(*place, (mark, palette.ink(COMPARED[of % len(COMPARED)])))
        cells.paste(number * each, 0, field)
    return cells.ansi()


def _palette() -> Palette:
    return Palette(depth="none" if "NO_COLOR" in os.environ else "true")
