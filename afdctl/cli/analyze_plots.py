"""Draw analyses: figures as files, and on a terminal curves over one x and points by class."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from afdctl.cli.analyze_tables import AnalysisOfRuns
from afdctl.cli.output_path import OutputPath, runs_in_words
from afdctl.formatting import format_epsilon, format_tick
from afdctl.tui.drawing.axis import Floats, Range, fit
from afdctl.tui.drawing.cells import COMPARED, Cells, Palette
from afdctl.tui.drawing.plot import Curve, Plot, draw, margins

if TYPE_CHECKING:
    from afdctl.runs.run import Run


PLOT_HEIGHT = 15
MAX_PLOT_WIDTH = 100
# marks of the points of the first classes; others are dots
CLASS_MARKS = "0123456789abcdefghijklmnopqrstuvwxyz"
# x ascending, and y
Points = tuple[list[float], list[float]]


class Line(NamedTuple):
    """Points (x, y), x ascending."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def save_figures(runs: "Sequence[Run]", names: Sequence[str], out: OutputPath | None) -> dict[str, Path]:
    """Save the figure of each analysis; without `out` into the folder figures/ of the first run."""
    from afdctl.export.figures.catalogue import FIGURES
    from afdctl.export.figures.page import save
    from afdctl.runs.record import Record

    records = [Record.of(run) for run in runs]
    paths = {name: figure_path(runs, name, out, alone=len(names) == 1) for name in names}
    for name, path in paths.items():
        save(FIGURES[name].build(records), path)
    return paths


def figure_path(runs: "Sequence[Run]", name: str, out: OutputPath | None, *, alone: bool) -> Path:
    """Return the path of an analysis' figure: `out` itself for the only one, else with the analysis in its name."""
    if out is None:
        several = f"-of-{len(runs)}-runs" if len(runs) > 1 else ""
        return OutputPath(runs[0].path / "figures", slash=True).file(f"{name}{several}.svg")
    if out.is_folder:
        return out.file(f"{runs_in_words([run.name for run in runs])}-{name}.svg")
    return out.file("") if alone else replace(out, path=out.path.with_stem(f"{out.path.stem}-{name}")).file("")


def draw_plots(analysis: AnalysisOfRuns, width: int) -> list[str]:
    """Draw an analysis as plots of at most `width` columns."""
    if analysis.name in ("tsne", "umap"):
        return [draw_embedding(analysis, run, width) for run in analysis.rows]
    if analysis.name not in LINES:
        return []
    lines = [Line(name, *points) for name, points in LINES[analysis.name](analysis).items()]
    return [draw_curves(lines, width)] if any(len(line.x) > 1 for line in lines) else []


def draw_embedding(analysis: AnalysisOfRuns, run: str, width: int) -> str:
    """Draw the natural images' points, and beside them those at the largest epsilon."""
    arrays = analysis.arrays(run)
    strongest = f"{run}, under PGD-L∞ at {format_epsilon(analysis.metrics[run]['epsilons'][-1])}"
    points = {f"{run}, natural": arrays["points"][0], strongest: arrays["points"][-1]}
    return draw_scatters(points, arrays["label"], width)


def draw_curves(lines: Sequence[Line], width: int) -> str:
    """Draw lines over one x, with their names above, on at most `width` columns; returns text with colour escapes."""
    palette, width = _palette(), min(width, MAX_PLOT_WIDTH)
    cells = Cells(width, PLOT_HEIGHT + 1, palette)
    y = fit([np.asarray(line.y, np.float64) for line in lines])
    left, right = margins(Plot([], y), PLOT_HEIGHT)
    x = Range(min(line.x[0] for line in lines), max(line.x[-1] for line in lines))
    columns = np.linspace(x.low, x.high, 2 * (width - left - right))
    curves, column = [], left
    for line, colour in zip(lines, COMPARED * len(lines), strict=False):
        column = cells.put(column, 0, ("── ", palette.ink(colour)), (f"{line.name}   ", palette.ink("text")))
        values = np.interp(columns, line.x, line.y, left=np.nan, right=np.nan)
        letter = line.name[0] if palette.depth == "none" else ""
        curves.append(Curve(values, np.zeros(len(columns), bool), colour, letter))
    ticks = [(float(x.fraction(np.array(tick))), format_tick(tick)) for tick in x.ticks(max(2, width // 12))]
    cells.paste(0, 1, draw(Plot(curves, y, ticks=ticks), width, PLOT_HEIGHT, left, right, palette))
    return cells.ansi()


def draw_scatters(points: Mapping[str, Floats], label: NDArray[np.int32], width: int) -> str:
    """Draw fields of points (n, 2) side by side on common axes, by title; `label` (n,) decides mark and colour."""
    palette, width = _palette(), min(width, MAX_PLOT_WIDTH)
    cells = Cells(width, PLOT_HEIGHT + 6, palette)
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


def pca(analysis: AnalysisOfRuns) -> dict[str, Points]:
    """Return the cumulative share of the variance by component."""
    shares = {run: analysis.arrays(run)["explained"].tolist() for run in analysis.rows}
    return {run: ([float(number) for number in range(1, len(share) + 1)], share) for run, share in shares.items()}


def sensitivity(analysis: AnalysisOfRuns) -> dict[str, Points]:
    return {run: (metrics["epsilons"], metrics["median"]) for run, metrics in analysis.metrics.items()}


def norms(analysis: AnalysisOfRuns) -> dict[str, Points]:
    return {run: (metrics["epsilons"], metrics["margin"]["median"]) for run, metrics in analysis.metrics.items()}


def hdh(analysis: AnalysisOfRuns) -> dict[str, Points]:
    """Return half of the probe's d, and the gap that it bounds (Eq. 5), over the grid of the first attack."""
    lines: dict[str, Points] = {}
    for run, metrics in analysis.metrics.items():
        cells = [cell for cell in metrics["cells"] if cell["attack"] == metrics["cells"][0]["attack"]]
        epsilons = [cell["epsilon"] for cell in cells]
        lines[f"{run}: d/2 (probe)"] = (epsilons, [cell["probe"] / 2 for cell in cells])
        lines[f"{run}: gap"] = (epsilons, [cell["gap"] for cell in cells])
    return lines


LINES: Final[Mapping[str, Callable[[AnalysisOfRuns], dict[str, Points]]]] = {
    "pca": pca,
    "sensitivity": sensitivity,
    "norms": norms,
    "hdh": hdh,
}
