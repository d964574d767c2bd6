"""What trainings did to the features: the row of each analysis that counts, as tables and charts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from afdctl.errors import CorruptError
from afdctl.export.report.chart import Chart, Line
from afdctl.formatting import format_epsilon, format_range
from afdctl.journal import Row
from afdctl.runs import shards
from afdctl.runs.record import Record

NAMES = ("pca", "units", "sensitivity", "norms", "hdh", "tsne")
NORM_TITLES = {
    "feature_norm": "‖F(x)‖₂: median",
    "logit_scale": "Scale of the logits: median",
    "margin": "Margin: median",
}
DOTS = 300
"""The most images that an embedding shows."""
SIDE = 100.0


@dataclass(frozen=True)
class EmbeddingPanel:
    """An embedding at one strength: for each class (by number) the path of its dots in a square of SIDE."""

    title: str
    dots: dict[int, str]


@dataclass
class AnalysisSection:
    """What there is to show of a run's analyses; `problems` tells of what could not be read."""

    dims: Row | None = None
    units: Row | None = None
    hdh: Row | None = None
    panels: list[EmbeddingPanel] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def analysis_section(record: Record) -> AnalysisSection:
    """The analyses of a run, their arrays read where they are shown."""
    rows = record.analyses
    dims, units, hdh = (rows[name]["figures"] if name in rows else None for name in ("pca", "units", "hdh"))
    found = AnalysisSection(dims, units, hdh)
    if row := rows.get("tsne"):
        try:
            found.panels = _panels(record, row)
        except CorruptError as error:
            found.problems.append(f"t-SNE: {error}")
    return found


def missing(record: Record) -> list[str]:
    """The analyses that were not made."""
    return [name for name in NAMES if name not in record.analyses]


def note(records: Sequence[Record]) -> str:
    """What a reader must know of the charts: which attack they are of, and what their bands are."""
    rows = [record.analyses[name] for record in records for name in ("sensitivity", "norms") if name in record.analyses]
    under = " and ".join(dict.fromkeys(row["figures"]["attack"] for row in rows))
    counts = format_range(row["n"] for record in records for row in record.analyses.values())
    images = f"Of {counts} test images." if counts else ""
    bands = f"Charts: under {under}; bands: a standard deviation over the images, either way." if under else ""
    return f"{images} {bands}".strip()


def charts(records: Sequence[Record]) -> list[Chart]:
    """Sensitivity and norms by epsilon, a line a run; the band is a standard deviation either way."""
    made = [Chart("‖F(x) − F(x′)‖₂ / ‖F(x)‖₂: median", "ε", _lines(records, "sensitivity", None))]
    made += [Chart(title, "ε", _lines(records, "norms", key)) for key, title in NORM_TITLES.items()]
    made.append(_scatter(records))
    return [chart for chart in made if chart.lines]


def _lines(records: Sequence[Record], name: str, key: str | None) -> list[Line]:
    lines = []
    for number, record in enumerate(records):
        if row := record.analyses.get(name):
            figures = row["figures"]
            values: dict[str, Any] = figures[key] if key else figures
            x, y, std = (np.array(part, float) for part in (figures["epsilons"], values["median"], values["std"]))
            lines.append(Line(record.name, number, x, y, y - std, y + std, marks=True))
    return lines


def _scatter(records: Sequence[Record]) -> Chart:
    """Figure 3b: the gap of the errors by the probe's d_HΔH, a mark a cell."""
    lines = []
    for number, record in enumerate(records):
        if row := record.analyses.get("hdh"):
            cells = sorted(row["figures"]["cells"], key=lambda cell: float(cell["probe"]))
            x, y = (np.array([cell[key] for cell in cells], float) for key in ("probe", "gap"))
            lines.append(Line(record.name, number, x, y, marks=True, joined=False))
    return Chart("err_adv − err_nat by d_HΔH (probe)", "d_HΔH", lines)


def _panels(record: Record, row: Row) -> list[EmbeddingPanel]:
    arrays = shards.read(record.run, row["shard"])
    points, labels = arrays["points"][:, :DOTS], arrays["label"][:DOTS]
    return [
        EmbeddingPanel("natural" if epsilon == 0 else f"ε = {format_epsilon(epsilon)}", _dots(at, labels))
        for epsilon, at in zip(row["figures"]["epsilons"], _fitted(points), strict=True)
    ]


def _fitted(points: Any) -> Any:
    """Points (e, n, 2) in a square of SIDE with some room at its edges: one frame for all, so that places compare."""
    low, high = points.min((0, 1)), points.max((0, 1))
    return 4 + (points - (low + high) / 2) / max(float((high - low).max()), 1e-9) * (SIDE - 8) + (SIDE - 8) / 2


def _dots(points: Any, labels: Any) -> dict[int, str]:
    """Class -> a path of strokes without length, which round ends make dots."""
    return {
        int(label): "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points[labels == label].tolist())
        for label in np.unique(labels)
    }
