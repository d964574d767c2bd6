"""Draw analyses as text for a terminal: curves over one x, and points by class."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from afdctl.formatting import format_epsilon, format_tick
from afdctl.runs.shards import Arrays
from afdctl.tui.drawing.axis import Floats, Range, fit
from afdctl.tui.drawing.cells import COMPARED, Cells, Palette
from afdctl.tui.drawing.plot import Curve, Plot, draw, margins

HEIGHT = 15
MAX_WIDTH = 100
# marks of the points of the first classes; others are dots
CLASS_MARKS = "0123456789abcdefghijklmnopqrstuvwxyz"
# x ascending, and y
Points = tuple[list[float], list[float]]
# the metrics of an analysis by run
Metrics = Mapping[str, Mapping[str, Any]]


class Line(NamedTuple):
    """Points (x, y), x ascending."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def draw_analysis(name: str, metrics: Metrics, arrays: Callable[[str], Arrays], width: int) -> list[str]:
    """Draw an analysis of runs as plots of at most `width` columns; `arrays` reads those of a run."""
    if name in ("tsne", "umap"):
        return [draw_embedding(run, metrics[run]["epsilons"][-1], arrays(run), width) for run in metrics]
    if name == "pca":
        points = pca({run: arrays(run) for run in metrics})
    elif name in LINES:
        points = LINES[name](metrics)
    else:
        return []
    lines = [Line(name, *line) for name, line in points.items()]
    return [draw_curves(lines, width)] if any(len(line.x) > 1 for line in lines) else []


def draw_embedding(run: str, epsilon: float, arrays: Arrays, width: int) -> str:
    """Draw the natural images' points, and beside them those at the largest epsilon."""
    strongest = f"{run}, under PGD-L∞ at {format_epsilon(epsilon)}"
    points = {f"{run}, natural": arrays["points"][0], strongest: arrays["points"][-1]}
    return draw_scatters(points, arrays["label"], width)


def draw_curves(lines: Sequence[Line], width: int) -> str:
    """Draw lines over one x, with their names above, on at most `width` columns; returns text with colour escapes."""
    palette, width = _palette(), min(width, MAX_WIDTH)
    cells = Cells(width, HEIGHT + 1, palette)
    y = fit([np.asarray(line.y, np.float64) for line in lines])
    left, right = margins(Plot(curves=[], y=y), HEIGHT)
    x = Range(min(line.x[0] for line in lines), max(line.x[-1] for line in lines))
    columns = np.linspace(x.low, x.high, 2 * (width - left - right))
    curves, column = [], left
    for line, colour in zip(lines, COMPARED * len(lines), strict=False):
        column = cells.put(column, 0, ("── ", palette.ink(colour)), (f"{line.name}   ", palette.ink("text")))
        values = np.interp(columns, line.x, line.y, left=np.nan, right=np.nan)
        letter = line.name[0] if palette.depth == "none" else ""
        curves.append(Curve(mean=values, broken=np.zeros(len(columns), bool), colour=colour, letter=letter))
    ticks = [(float(x.fraction(np.array(tick))), format_tick(tick)) for tick in x.ticks(max(2, width // 12))]
    cells.paste(0, 1, draw(Plot(curves=curves, y=y, ticks=ticks), width, HEIGHT, left, right, palette))
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
        # points on one line have no span across it
        shares = (positions - lowest) / np.where(spans > 0, spans, 1)
        for (x, y), class_number in zip(shares.tolist(), label.tolist(), strict=True):
            mark = CLASS_MARKS[class_number] if class_number < len(CLASS_MARKS) else "·"
            cell = 1 + int(x * (field.width - 3)), 1 + int((1 - y) * (field.height - 3))
            field.put(*cell, (mark, palette.ink(COMPARED[class_number % len(COMPARED)])))
        cells.paste(number * field_width, 0, field)
    return cells.ansi()


def _palette() -> Palette:
    return Palette(depth="none" if "NO_COLOR" in os.environ else "true")


def pca(arrays: Mapping[str, Arrays]) -> dict[str, Points]:
    """Return the cumulative share of the variance by component."""
    shares = {run: of_run["explained"].tolist() for run, of_run in arrays.items()}
    return {run: ([float(number) for number in range(1, len(share) + 1)], share) for run, share in shares.items()}


def sensitivity(metrics: Metrics) -> dict[str, Points]:
    return {run: (of_run["epsilons"], of_run["median"]) for run, of_run in metrics.items()}


def norms(metrics: Metrics) -> dict[str, Points]:
    return {run: (of_run["epsilons"], of_run["margin"]["median"]) for run, of_run in metrics.items()}


def hdh(metrics: Metrics) -> dict[str, Points]:
    """Return half of the probe's d, and the gap that it bounds (Eq. 5), over the grid of the first attack."""
    lines: dict[str, Points] = {}
    for run, of_run in metrics.items():
        cells = [cell for cell in of_run["cells"] if cell["attack"] == of_run["cells"][0]["attack"]]
        epsilons = [cell["epsilon"] for cell in cells]
        lines[f"{run}: d/2 (probe)"] = (epsilons, [cell["probe"] / 2 for cell in cells])
        lines[f"{run}: gap"] = (epsilons, [cell["gap"] for cell in cells])
    return lines


LINES: Final[Mapping[str, Callable[[Metrics], dict[str, Points]]]] = {
    "sensitivity": sensitivity,
    "norms": norms,
    "hdh": hdh,
}
