"""Files of the screen: SVG and text, and as CSV the columns of its charts or the cells of its sweep."""

import csv
import math
from io import StringIO
from pathlib import Path

from afdctl.runs import files
from afdctl.tui.drawing.cells import Palette
from afdctl.tui.drawing.svg import to_svg
from afdctl.tui.panes.chart import RenderedChart, sample_curves
from afdctl.tui.panes.charts import ChartSpec
from afdctl.tui.screen import Frame
from afdctl.tui.view import Snapshot


def free_path(folder: Path, stem: str, suffix: str) -> Path:
    """Return a path that does not exist yet: `stem.svg`, `stem-2.svg`, ..."""
    path, number = folder / f"{stem}{suffix}", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{suffix}"
    return path


def write_svg(frame: Frame, snapshot: Snapshot, folder: Path) -> Path:
    """Write the screen as SVG. Errors: OSError, DiskFullError."""
    path = free_path(folder, f"{snapshot.name}-step-{snapshot.history.step}", ".svg")
    files.write_text(path, to_svg(frame.cells, f"afdctl: {snapshot.name}"))
    return path


def write_text(frame: Frame, snapshot: Snapshot, palette: Palette, folder: Path) -> tuple[Path, Path]:
    """Write the screen as text and its data as CSV. Errors: OSError, DiskFullError."""
    path = free_path(folder, f"{snapshot.name}-step-{snapshot.history.step}", ".txt")
    files.write_text(path, frame.cells.text() + "\n")
    # in memory, so that the file is written completely or not at all
    buffer = StringIO(newline="")
    table = csv.writer(buffer)
    table.writerow(["chart", "metric", "run", "x", "mean", "low", "high"])
    if snapshot.shows_sweep:
        table.writerows(sweep_rows(snapshot))
    for spec, rendered in frame.charts.values():
        table.writerows(chart_rows(spec, rendered, snapshot, palette))
    table_path = path.with_suffix(".csv")
    files.write_text(table_path, buffer.getvalue())
    return path, table_path


def sweep_rows(snapshot: Snapshot) -> list[list[object]]:
    """Return norm, attack, run, epsilon, accuracy and interval of each measured cell of a sweep."""
    sweep = snapshot.history.sweep
    return [
        [
            sweep.norms.get(key, ""),
            " from ".join(filter(None, key)),
            snapshot.name,
            f"{epsilon:g}",
            cell.accuracy,
            cell.low,
            cell.high,
        ]
        for key, row in sweep.cells.items()
        for epsilon, cell in row.items()
        if cell.accuracy is not None and not cell.partial
    ]


def chart_rows(spec: ChartSpec, rendered: RenderedChart, snapshot: Snapshot, palette: Palette) -> list[list[object]]:
    """Return chart, metric, run, x, mean and band of each column of dots that holds a value."""
    columns = 2 * rendered.plot_width
    x_range = rendered.x_range
    step = (x_range.high - x_range.low) / columns
    run_names = [other.name for other in snapshot.others] or [snapshot.name] * len(spec.curves)
    rows: list[list[object]] = []
    for place, curve in enumerate(sample_curves(spec, snapshot, x_range, columns, palette)):
        # of compared runs only the first metric is drawn
        curve_spec = spec.curves[0 if snapshot.others else min(place, len(spec.curves) - 1)]
        run_name = run_names[min(place, len(run_names) - 1)]
        for column, mean in enumerate(curve.mean.tolist()):
            if not math.isnan(mean):
                band = [edge[column] for edge in (curve.low, curve.high) if edge is not None]
                x = x_range.low + (column + 0.5) * step
                rows.append([spec.key, curve_spec.name or curve_spec.metric, run_name, f"{x:g}", mean, *band])
    return rows
