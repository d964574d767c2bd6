"""The report's part on analyses of the features: tables, charts and embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from afdctl.errors import CorruptError
from afdctl.export.report.chart import Chart, Line
from afdctl.formatting import format_epsilon
from afdctl.image_counts import describe_images
from afdctl.journal import Row
from afdctl.runs import shards
from afdctl.runs.record import Record

NAMES = ("pca", "units", "sensitivity", "norms", "hdh", "tsne")
NORM_TITLES = {
    "feature_norm": "‖F(x)‖₂: median",
    "logit_scale": "Scale of the logits: median",
    "margin": "Margin: median",
}
# of images in an embedding: more make the page larger, not clearer
MAX_DOTS = 300
# of an embedding's square, in SVG units
SIDE = 100.0
MARGIN = 4.0


@dataclass(frozen=True)
class EmbeddingPanel:
    """An embedding at one epsilon: for each class number the SVG path of its dots in a square of SIDE."""

    title: str
    dots: dict[int, str]


@dataclass(kw_only=True)
class AnalysisSection:
    """A run's analyses as the page shows them; `problems` lists what could not be read."""

    dims: Row | None = None
    units: Row | None = None
    hdh: Row | None = None
    panels: list[EmbeddingPanel] = field(default_factory=list)
    # a user's analyses: name -> its numbers and texts
    own: dict[str, Row] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def analysis_section(record: Record) -> AnalysisSection:
    """Collect the analyses of a run. Only the arrays that the page shows are read."""
    rows = record.analyses
    dims, units, hdh = (rows[name]["metrics"] if name in rows else None for name in ("pca", "units", "hdh"))
    own = {
        name: {key: value for key, value in row["metrics"].items() if isinstance(value, str | int | float)}
        for name, row in rows.items()
        if "spec" in row
    }
    section = AnalysisSection(dims=dims, units=units, hdh=hdh, own=own)
    if row := rows.get("tsne"):
        try:
            section.panels = _panels(record, row)
        except CorruptError as error:
            # a damaged shard costs this part of the page, not the whole page
            section.problems.append(f"t-SNE: {error}")
    return section


def note(records: Sequence[Record]) -> str:
    """Describe the images, the attack and the bands of the charts."""
    rows = [record.analyses[name] for record in records for name in ("sensitivity", "norms") if name in record.analyses]
    attacks = " and ".join(dict.fromkeys(row["metrics"]["attack"] for row in rows))
    images = describe_images(row for record in records for row in record.analyses.values())
    images = f"Computed on {images}." if images else ""
    bands = f"Charts are under {attacks}; bands show ± one standard deviation over images." if attacks else ""
    return f"{images} {bands}".strip()


def charts(records: Sequence[Record]) -> list[Chart]:
    """Chart sensitivity and norms over epsilon, with a line per run and a band of ± one standard deviation."""
    all_charts = [Chart("‖F(x) − F(x′)‖₂ / ‖F(x)‖₂: median", "ε", _lines(records, "sensitivity", None))]
    all_charts += [Chart(title, "ε", _lines(records, "norms", key)) for key, title in NORM_TITLES.items()]
    all_charts.append(_scatter(records))
    return [chart for chart in all_charts if chart.lines]


def _lines(records: Sequence[Record], name: str, key: str | None) -> list[Line]:
    lines = []
    for number, record in enumerate(records):
        if row := record.analyses.get(name):
            metrics = row["metrics"]
            summary: dict[str, Any] = metrics[key] if key else metrics
            x, y, std = (np.array(part, float) for part in (metrics["epsilons"], summary["median"], summary["std"]))
            lines.append(Line(label=record.name, colour=number, x=x, y=y, low=y - std, high=y + std, marks=True))
    return lines


def _scatter(records: Sequence[Record]) -> Chart:
    """Chart the error gap over the probe's d_HΔH, as in Figure 3 (b): a mark per cell."""
    lines = []
    for number, record in enumerate(records):
        if row := record.analyses.get("hdh"):
            # a Line needs increasing x
            cells = sorted(row["metrics"]["cells"], key=lambda cell: float(cell["probe"]))
            x, y = (np.array([cell[key] for cell in cells], float) for key in ("probe", "gap"))
            lines.append(Line(label=record.name, colour=number, x=x, y=y, marks=True, joined=False))
    return Chart("err_adv − err_nat by d_HΔH (probe)", "d_HΔH", lines)


def _panels(record: Record, row: Row) -> list[EmbeddingPanel]:
    arrays = shards.read(record.run, row["shard"])
    points, labels = arrays["points"][:, :MAX_DOTS], arrays["label"][:MAX_DOTS]
    return [
        EmbeddingPanel("natural" if epsilon == 0 else f"ε = {format_epsilon(epsilon)}", _dots(positions, labels))
        for epsilon, positions in zip(row["metrics"]["epsilons"], _fit_to_square(points), strict=True)
    ]


def _fit_to_square(points: Any) -> Any:
    """Scale points (e, n, 2) into a square of SIDE with a margin, the same for all epsilons."""
    low, high = points.min((0, 1)), points.max((0, 1))
    # all points of an embedding may coincide
    extent = max(float((high - low).max()), 1e-9)
    return SIDE / 2 + (points - (low + high) / 2) / extent * (SIDE - 2 * MARGIN)


def _dots(points: Any, labels: Any) -> dict[int, str]:
    """Return class -> a path of strokes of length 0, which round line caps turn into dots."""
    return {
        int(label): "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points[labels == label].tolist())
        for label in np.unique(labels)
    }
