"""Plots in the terminal, on the dashboard's cells."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from afdctl.cli.analysing.of_runs import OfRuns
from afdctl.tui.drawing.cells import Cells
from afdctl.tui.drawing.palette import COMPARED, Palette
from afdctl.tui.drawing.plot import Curve, Plot, draw, margins
from afdctl.tui.drawing.scale import Range, brief, fit

HEIGHT = 15
WIDEST = 100
MARKS = "0123456789abcdefghijklmnopqrstuvwxyz"
"""What the first classes are drawn as; others are dots."""


class Line(NamedTuple):
    """Points (x, y), x rising."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def plots(found: OfRuns, width: int) -> list[str]:
    """The analysis as pictures of at most `width` columns, with the escapes that colour them."""
    palette = Palette(depth="none" if "NO_COLOR" in os.environ else "true")
    width = min(width, WIDEST)
    if found.name in ("tsne", "umap"):
        return [scatter(found, run, width, palette).ansi() for run in found.rows]
    lines = LINES[found.name](found) if found.name in LINES else []
    return [curves(lines, width, palette).ansi()] if any(len(line.x) > 1 for line in lines) else []


def curves(lines: Sequence[Line], width: int, palette: Palette) -> Cells:
    """Lines over one x, their names above."""
    cells = Cells(width, HEIGHT + 1, palette)
    low, high = min(line.x[0] for line in lines), max(line.x[-1] for line in lines)
    y = fit([np.asarray(line.y) for line in lines])
    left, right = margins(Plot([], y), HEIGHT)
    columns = np.linspace(low, high, 2 * (width - left - right))
    drawn = []
    at = left
    for line, colour in zip(lines, COMPARED * len(lines), strict=False):
        at = cells.put(at, 0, ("── ", palette.ink(colour)), (f"{line.name}   ", palette.ink("text")))
        values = np.interp(columns, line.x, line.y, left=np.nan, right=np.nan)
        drawn.append(
            Curve(values, np.zeros(len(columns), bool), colour, line.name[0] if palette.depth == "none" else "")
        )
    x = Range(low, high)
    ticks = [(float(x.place(np.array(tick))), brief(tick)) for tick in x.ticks(max(2, width // 12))]
    cells.paste(0, 1, draw(Plot(drawn, y, ticks=ticks), width, HEIGHT, left, right, palette))
    return cells


def scatter(found: OfRuns, run: str, width: int, palette: Palette) -> Cells:
    """The natural images' points, and those of the strongest attack beside them; each is its class."""
    arrays = found.arrays(run)
    cells = Cells(width, HEIGHT + 6, palette)
    half = width // 2
    spans = np.ptp(arrays["points"].reshape(-1, 2), axis=0)
    lowest = arrays["points"].reshape(-1, 2).min(axis=0)
    for number, (strength, title) in enumerate(
        [(0, "natural"), (-1, f"PGD {brief(found.figures[run]['epsilons'][-1])}")]
    ):
        field = Cells(half - 1, cells.height, palette)
        field.frame([(title, palette.ink("strong", bold=True))])
        places = (arrays["points"][strength] - lowest) / np.where(spans > 0, spans, 1)
        for (x, y), label in zip(places, arrays["label"], strict=True):
            mark = MARKS[label] if label < len(MARKS) else "·"
            ink = palette.ink(COMPARED[label % len(COMPARED)])
            field.put(1 + int(x * (field.width - 3)), 1 + int((1 - y) * (field.height - 3)), (mark, ink))
        cells.paste(number * half, 0, field)
    return cells


def pca(found: OfRuns) -> list[Line]:
    """The cumulative share of the variance by component."""
    explained = {run: found.arrays(run)["explained"] for run in found.rows}
    return [Line(run, range(1, len(shares) + 1), shares.tolist()) for run, shares in explained.items()]


def sensitivity(found: OfRuns) -> list[Line]:
    return [Line(run, figures["epsilons"], figures["median"]) for run, figures in found.figures.items()]


def norms(found: OfRuns) -> list[Line]:
    """The margins."""
    return [Line(run, figures["epsilons"], figures["margin"]["median"]) for run, figures in found.figures.items()]


def hdh(found: OfRuns) -> list[Line]:
    """Half of the probe's d, and the gap that it bounds, over the grid of the first attack."""
    lines = []
    for run, figures in found.figures.items():
        cells = [cell for cell in figures["cells"] if cell["attack"] == figures["cells"][0]["attack"]]
        epsilons = [cell["epsilon"] for cell in cells]
        lines.append(Line(f"{run} d/2 (probe)", epsilons, [cell["probe"] / 2 for cell in cells]))
        lines.append(Line(f"{run} gap", epsilons, [cell["gap"] for cell in cells]))
    return lines


LINES: Final[Mapping[str, Callable[[OfRuns], list[Line]]]] = {
    "pca": pca,
    "sensitivity": sensitivity,
    "norms": norms,
    "hdh": hdh,
}
