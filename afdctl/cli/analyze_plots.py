"""Draw analyses: figures as files, and the curves and points that a terminal shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from afdctl.cli.output_path import OutputPath, runs_in_words
from afdctl.formatting import format_epsilon

if TYPE_CHECKING:
    from afdctl.cli.analyze_tables import AnalysisOfRuns
    from afdctl.runs.run import Run

# x ascending, and y
Points = tuple[list[float], list[float]]


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


def draw_plots(analysis: "AnalysisOfRuns", width: int) -> list[str]:
    """Draw an analysis as plots of at most `width` columns."""
    from afdctl.tui.plots import Line, draw_curves

    if analysis.name in ("tsne", "umap"):
        return [draw_embedding(analysis, run, width) for run in analysis.rows]
    if analysis.name not in LINES:
        return []
    lines = [Line(name, *points) for name, points in LINES[analysis.name](analysis).items()]
    return [draw_curves(lines, width)] if any(len(line.x) > 1 for line in lines) else []


def draw_embedding(analysis: "AnalysisOfRuns", run: str, width: int) -> str:
    """Draw the natural images' points, and beside them those at the largest epsilon."""
    from afdctl.tui.plots import draw_scatters

    arrays = analysis.arrays(run)
    strongest = f"{run}, under PGD-L∞ at {format_epsilon(analysis.metrics[run]['epsilons'][-1])}"
    points = {f"{run}, natural": arrays["points"][0], strongest: arrays["points"][-1]}
    return draw_scatters(points, arrays["label"], width)


def pca(analysis: "AnalysisOfRuns") -> dict[str, Points]:
    """Return the cumulative share of the variance by component."""
    shares = {run: analysis.arrays(run)["explained"].tolist() for run in analysis.rows}
    return {run: ([float(number) for number in range(1, len(share) + 1)], share) for run, share in shares.items()}


def sensitivity(analysis: "AnalysisOfRuns") -> dict[str, Points]:
    return {run: (metrics["epsilons"], metrics["median"]) for run, metrics in analysis.metrics.items()}


def margins(analysis: "AnalysisOfRuns") -> dict[str, Points]:
    return {run: (metrics["epsilons"], metrics["margin"]["median"]) for run, metrics in analysis.metrics.items()}


def hdh(analysis: "AnalysisOfRuns") -> dict[str, Points]:
    """Return half of the probe's d, and the gap that it bounds (Eq. 5), over the grid of the first attack."""
    lines: dict[str, Points] = {}
    for run, metrics in analysis.metrics.items():
        cells = [cell for cell in metrics["cells"] if cell["attack"] == metrics["cells"][0]["attack"]]
        epsilons = [cell["epsilon"] for cell in cells]
        lines[f"{run}: d/2 (probe)"] = (epsilons, [cell["probe"] / 2 for cell in cells])
        lines[f"{run}: gap"] = (epsilons, [cell["gap"] for cell in cells])
    return lines


LINES: "Final[Mapping[str, Callable[[AnalysisOfRuns], dict[str, Points]]]]" = {
    "pca": pca,
    "sensitivity": sensitivity,
    "norms": margins,
    "hdh": hdh,
}
