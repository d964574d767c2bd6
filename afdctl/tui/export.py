"""Files of what is shown: the screen as SVG and as text, the charts' columns or a sweep's cells as CSV."""

import csv
from io import StringIO
from pathlib import Path

from afdctl.runs import files
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.drawing.svg import svg
from afdctl.tui.panes.chart import RenderedChart, curves_of
from afdctl.tui.panes.charts import ChartSpec
from afdctl.tui.screen import Frame
from afdctl.tui.snapshot import Snapshot


def free_name(folder: Path, stem: str, suffix: str) -> Path:
    """A path that does not exist yet: `stem.svg`, `stem-2.svg`, ..."""
    path, number = folder / f"{stem}{suffix}", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{suffix}"
    return path


def write_svg(screen: Frame, facts: Snapshot, folder: Path) -> Path:
    """Write the screen as a picture. Errors: OSError, DiskFullError."""
    path = free_name(folder, f"{facts.name}-step-{facts.history.step}", ".svg")
    files.write_text(path, svg(screen.cells, f"afdctl: {facts.name}"))
    return path


def write_text(screen: Frame, facts: Snapshot, palette: Palette, folder: Path) -> tuple[Path, Path]:
    """Write the screen as text, and the columns of its charts. Errors: OSError, DiskFullError."""
    stem = f"{facts.name}-step-{facts.history.step}"
    text = free_name(folder, stem, ".txt")
    files.write_text(text, screen.cells.text() + "\n")
    buffer = StringIO(newline="")
    rows = csv.writer(buffer)
    rows.writerow(["chart", "figure", "run", "x", "mean", "low", "high"])
    if facts.shows_sweep:
        rows.writerows(cells(facts))
    for chart, drawn in screen.charts.values():
        rows.writerows(columns(chart, drawn, facts, palette))
    table = text.with_suffix(".csv")
    files.write_text(table, buffer.getvalue())
    return text, table


def cells(facts: Snapshot) -> list[list[object]]:
    """A row for each cell of a sweep that is measured: its norm, attack, run, epsilon, accuracy and interval."""
    sweep = facts.history.sweep
    return [
        [
            sweep.norms.get(key, ""),
            " from ".join(filter(None, key)),
            facts.name,
            f"{epsilon:g}",
            cell.accuracy,
            cell.low,
            cell.high,
        ]
        for key, row in sweep.cells.items()
        for epsilon, cell in row.items()
        if cell.accuracy is not None and not cell.partial
    ]


def columns(chart: ChartSpec, drawn: RenderedChart, facts: Snapshot, palette: Palette) -> list[list[object]]:
    """A row for each dot column of each curve that holds something."""
    number = 2 * drawn.field
    width = (drawn.part.high - drawn.part.low) / number
    names = [other.name for other in facts.others] or [facts.name] * len(chart.traces)
    found: list[list[object]] = []
    for place, curve in enumerate(curves_of(chart, facts, drawn.part, number, palette)):
        trace = chart.traces[0 if facts.others else min(place, len(chart.traces) - 1)]
        for column, mean in enumerate(curve.mean.tolist()):
            if mean == mean:
                band = [edge[column] for edge in (curve.low, curve.high) if edge is not None]
                x = drawn.part.low + (column + 0.5) * width
                found.append(
                    [chart.key, trace.name or trace.figure, names[min(place, len(names) - 1)], f"{x:g}", mean, *band]
                )
    return found
