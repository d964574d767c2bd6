"""Choose the curves and points of an analysis that a terminal shows."""

from collections.abc import Callable, Mapping
from typing import Final

from afdctl.cli.analyze_tables import AnalysisOfRuns
from afdctl.formatting import format_epsilon

Points = tuple[list[float], list[float]]
"""x ascending, and y."""


def draw_plots(analysis: AnalysisOfRuns, width: int) -> list[str]:
    """Draw an analysis as plots of at most `width` columns."""
    from afdctl.tui.plots import Line, draw_curves

    if analysis.name in ("tsne", "umap"):
        return [draw_embedding(analysis, run, width) for run in analysis.rows]
    if analysis.name not in LINES:
        return []
    lines = [Line(name, *points) for name, points in LINES[analysis.name](analysis).items()]
    return [draw_curves(lines, width)] if any(len(line.x) > 1 for line in lines) else []


def draw_embedding(analysis: AnalysisOfRuns, run: str, width: int) -> str:
    """Draw the natural images' points, and beside them those at the largest epsilon."""
    from afdctl.tui.plots import draw_scatters

    arrays = analysis.arrays(run)
    strongest = f"{run}, under PGD-L∞ at {format_epsilon(analysis.figures[run]['epsilons'][-1])}"
    points = {f"{run}, natural": arrays["points"][0], strongest: arrays["points"][-1]}
    return draw_scatters(points, arrays["label"], width)


def pca(analysis: AnalysisOfRuns) -> dict[str, Points]:
    """Return the cumulative share of the variance by component."""
    shares = {run: analysis.arrays(run)["explained"].tolist() for run in analysis.rows}
    return {run: ([float(number) for number in range(1, len(share) + 1)], share) for run, share in shares.items()}


def sensitivity(analysis: AnalysisOfRuns) -> dict[str, Points]:
    return {run: (figures["epsilons"], figures["median"]) for run, figures in analysis.figures.items()}


def margins(analysis: AnalysisOfRuns) -> dict[str, Points]:
    return {run: (figures["epsilons"], figures["margin"]["median"]) for run, figures in analysis.figures.items()}


def hdh(analysis: AnalysisOfRuns) -> dict[str, Points]:
    """Return half of the probe's d, and the gap that it bounds (Eq. 5), over the grid of the first attack."""
    lines: dict[str, Points] = {}
    for run, figures in analysis.figures.items():
        cells = [cell for cell in figures["cells"] if cell["attack"] == figures["cells"][0]["attack"]]
        epsilons = [cell["epsilon"] for cell in cells]
        lines[f"{run}: d/2 (probe)"] = (epsilons, [cell["probe"] / 2 for cell in cells])
        lines[f"{run}: gap"] = (epsilons, [cell["gap"] for cell in cells])
    return lines


LINES: Final[Mapping[str, Callable[[AnalysisOfRuns], dict[str, Points]]]] = {
    "pca": pca,
    "sensitivity": sensitivity,
    "norms": margins,
    "hdh": hdh,
}
