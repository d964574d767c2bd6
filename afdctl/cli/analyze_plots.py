"""Which curves and points of an analysis a terminal shows."""

from collections.abc import Callable, Mapping
from typing import Final

from afdctl.cli.analyze_tables import AnalysisOfRuns
from afdctl.formatting import format_epsilon

Points = tuple[list[float], list[float]]


def plots(found: AnalysisOfRuns, width: int) -> list[str]:
    """The analysis as pictures of at most `width` columns."""
    from afdctl.tui.plots import Line, draw_curves

    if found.name in ("tsne", "umap"):
        return [scatter(found, run, width) for run in found.rows]
    lines = [Line(name, *points) for name, points in LINES.get(found.name, nothing)(found).items()]
    return [draw_curves(lines, width)] if any(len(line.x) > 1 for line in lines) else []


def scatter(found: AnalysisOfRuns, run: str, width: int) -> str:
    """The natural images' points, and beside them those under the strongest attack."""
    from afdctl.tui.plots import draw_scatters

    arrays = found.arrays(run)
    strongest = f"{run}, under PGD-L∞ at {format_epsilon(found.figures[run]['epsilons'][-1])}"
    points = {f"{run}, natural": arrays["points"][0], strongest: arrays["points"][-1]}
    return draw_scatters(points, arrays["label"], width)


def nothing(found: AnalysisOfRuns) -> dict[str, Points]:
    return {}


def pca(found: AnalysisOfRuns) -> dict[str, Points]:
    """The cumulative share of the variance by component."""
    shares = {run: found.arrays(run)["explained"].tolist() for run in found.rows}
    return {run: ([float(number) for number in range(1, len(of) + 1)], of) for run, of in shares.items()}


def sensitivity(found: AnalysisOfRuns) -> dict[str, Points]:
    return {run: (figures["epsilons"], figures["median"]) for run, figures in found.figures.items()}


def margins(found: AnalysisOfRuns) -> dict[str, Points]:
    return {run: (figures["epsilons"], figures["margin"]["median"]) for run, figures in found.figures.items()}


def hdh(found: AnalysisOfRuns) -> dict[str, Points]:
    """Half of the probe's d, and the gap that it bounds (Eq. 5), over the grid of the first attack."""
    lines: dict[str, Points] = {}
    for run, figures in found.figures.items():
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
