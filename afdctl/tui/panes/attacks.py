"""The panes of a sweep: a table of attacks and epsilons that fills up, and robustness curves."""

from collections.abc import Sequence

import numpy as np

from afdctl.formatting import NORM_LABELS, format_duration, format_epsilon, format_range
from afdctl.image_counts import subset_labels
from afdctl.tui.drawing.axis import Floats, Range
from afdctl.tui.drawing.cells import COMPARED, Cells, Palette, Span, curve_letter, draw_bar
from afdctl.tui.drawing.plot import Curve, Plot, draw, margins
from afdctl.tui.state.sweep import Cell, Key, SweepProgress
from afdctl.tui.view import Snapshot

NAME_WIDTH = 24
UNIT = Range(0, 1)
# the smallest width at which curves can be distinguished
MIN_CURVES_WIDTH = 36


def draw_grid(snapshot: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """Draw a row per attack and a column per epsilon; the higher the accuracy, the brighter the cell."""
    cells = Cells(width, height, palette)
    sweep = snapshot.history.sweep
    cells.frame([("Attacks", palette.ink("strong", bold=True)), (f"  {describe(sweep)}", palette.ink("dim"))])
    if not sweep.cells or width < 20 or height < 4:
        return cells
    _draw_progress(cells, 1, snapshot)
    y = 2
    for norm in sweep.norms_in_order:
        y = _draw_norm(cells, y, sweep, norm)
    return cells


def _draw_norm(cells: Cells, y: int, sweep: SweepProgress, norm: str) -> int:
    """Draw the attacks of one norm under a line with their epsilons; return the next row."""
    epsilons, width = sweep.epsilons(norm), cells.width
    name_width = min(NAME_WIDTH, width // 3)
    # 12 columns are for AUC and the frame; epsilons that do not fit are left out
    column_width = min(10, max(5, (width - name_width - 12) // len(epsilons)))
    visible = epsilons[: max(1, (width - name_width - 12) // column_width)]
    if y >= cells.height - 2:
        return y
    dim = cells.palette.ink("dim")
    cells.put(2, y, ("ε", dim))
    for column, epsilon in enumerate(visible):
        cells.put_right(name_width + (column + 1) * column_width, y, (format_epsilon(epsilon), dim))
    cells.put_right(width - 2, y, ("AUC", dim))
    for key in sweep.attacks(norm):
        y += 1
        if y < cells.height - 1:
            _draw_attack(cells, y, sweep, key, visible, name_width, column_width)
    return y + 1


def describe(sweep: SweepProgress) -> str:
    """Describe the sweep in progress, or the results: suite, clean accuracy, images, seed."""
    # results of several sweeps are shown after the end; the last plan is not that of all
    plan = {} if sweep.ended else sweep.plan
    words = [str(plan.get(name)) for name in ("suite", "checkpoint") if plan.get(name)]
    if sweep.acc_nat is not None:
        words.append(f"clean {sweep.acc_nat:.1%}")
    if sweep.lacks_autoattack:
        words.append("no AutoAttack")
    words.append(f"{format_range(row['n'] for row in sweep.images) or 0} images")
    words += subset_labels(sweep.images)
    return ", ".join([*words, f"seed {plan.get('seed', 0)}"] if plan else words)


def _draw_progress(cells: Cells, y: int, snapshot: Snapshot) -> None:
    """Draw how many cells are finished, and how long the others will take at this rate."""
    sweep, palette = snapshot.history.sweep, cells.palette
    share = sweep.finished / max(1, sweep.planned)
    words = f"{sweep.finished} of {sweep.planned} cells"
    if 0 < sweep.finished < sweep.planned and sweep.ended is None and not snapshot.state.over:
        words += f"   ETA {format_duration((sweep.now - sweep.since) * (1 - share) / share)}"
    end = cells.put_right(cells.width - 2, y, (words, palette.ink("text")))
    draw_bar(cells, 2, end - 2, y, share, "good")


def _draw_attack(
    cells: Cells, y: int, sweep: SweepProgress, key: Key, epsilons: Sequence[float], name_width: int, column_width: int
) -> None:
    """Draw a row of the table: the attack, its accuracies, and its AUC or progress."""
    palette = cells.palette
    attack, source = key
    running = key == sweep.running
    mark: Span = ("▸ ", palette.ink("good", bold=True)) if running else ("  ", palette.ink("dim"))
    norm = sweep.norms.get(key, "")
    name = f"{attack} {NORM_LABELS.get(norm, norm)}" + (f" ← {source}" if source else "")
    cells.put(2, y, mark, (name, palette.ink("strong" if running else "text")), end=name_width + 2)
    for column, epsilon in enumerate(epsilons):
        cell = sweep.cells[key].get(epsilon)
        if cell is not None:
            _draw_cell(cells, name_width + column * column_width + 1, y, column_width - 1, cell, running)
    auc = sweep.auc(key)
    if running and auc is None and sweep.total:
        last = (f"{sweep.done:,}/{sweep.total:,}", palette.ink("dim"))
    else:
        last = ("—", palette.ink("faint")) if auc is None else (f"{auc:.3f}", palette.ink("strong"))
    cells.put_right(cells.width - 2, y, last)


def _draw_cell(cells: Cells, x: int, y: int, width: int, cell: Cell, running: bool) -> None:
    """Draw an accuracy, with a tilde while it is partial; an ellipsis while it is computed, else a dot."""
    palette = cells.palette
    if cell.accuracy is None:
        cells.put_right(x + width, y, ("…" if running else "·", palette.ink("faint")))
        return
    text = f"{'~' if cell.partial else ''}{100 * cell.accuracy:.1f}".rjust(width)
    if palette.tints:
        # between 6 and 46 % of green
        tint = f"good/{round(0.06 + 0.4 * cell.accuracy, 2)}"
        cells.put(x, y, (text, palette.ink("strong", tint, bold=not cell.partial)))
    else:
        colour = "good" if cell.accuracy >= 0.5 else "warn" if cell.accuracy >= 0.2 else "bad"
        cells.put(x, y, (text, palette.ink("dim" if cell.partial else colour)))


def draw_curves(snapshot: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """Draw accuracy by epsilon, one chart per norm side by side, as epsilons of different norms are not comparable."""
    cells, sweep = Cells(width, height, palette), snapshot.history.sweep
    norms = [norm for norm in sweep.norms_in_order if sweep.measured_attacks(norm)] or sweep.norms_in_order[:1]
    max_charts = max(1, width // MIN_CURVES_WIDTH)
    if len(norms) > max_charts:
        running = sweep.norms.get(sweep.running or ("", ""), "")
        # the running attack must be seen
        norms = sorted(norms, key=lambda norm: norm != running)[:max_charts]
    for place, norm in enumerate(norms):
        x, end = width * place // len(norms), width * (place + 1) // len(norms)
        cells.paste(x, 0, _draw_norm_curves(sweep, norm, end - x, height, palette))
    return cells


def _draw_norm_curves(sweep: SweepProgress, norm: str, width: int, height: int, palette: Palette) -> Cells:
    """Draw the curves of one norm, one colour per attack, with a legend at the right."""
    cells = Cells(width, height, palette)
    cells.frame([(f"Accuracy by ε {NORM_LABELS.get(norm, norm)}".rstrip(), palette.ink("strong", bold=True))])
    inner_width, inner_height = width - 4, height - 2
    if inner_width < 24 or inner_height < 4 or not sweep.cells:
        return cells
    keys, epsilons = sweep.measured_attacks(norm), sweep.epsilons(norm)
    legend_width = min(30, max((len(legend_of(key)) for key in keys), default=0) + 3)
    plot_width = inner_width - legend_width
    low, high = 0.0, epsilons[-1] or 1.0
    left, right = margins(Plot(curves=[], y=UNIT), inner_height)
    columns = 2 * (plot_width - left - right)
    curves = [
        Curve(
            mean=accuracies_in_columns(sweep, key, low, high, columns),
            broken=np.zeros(columns, bool),
            colour=COMPARED[place % len(COMPARED)],
            letter=curve_letter(place),
        )
        for place, key in enumerate(keys)
    ]
    ticks = [((epsilon - low) / (high - low), format_epsilon(epsilon)) for epsilon in epsilons]
    plot = Plot(curves=curves, y=UNIT, ticks=ticks)
    cells.paste(2, 1, draw(plot, plot_width, inner_height, left, right, palette))
    for place, key in enumerate(keys[:inner_height]):
        ink = palette.ink(COMPARED[place % len(COMPARED)], bold=True)
        name = legend_of(key), palette.ink("text")
        cells.put(2 + plot_width + 1, place + 1, (f"{curve_letter(place)} ", ink), name, end=width - 1)
    return cells


def accuracies_in_columns(sweep: SweepProgress, key: Key, low: float, high: float, columns: int) -> Floats:
    """Return the accuracies of an attack by column of dots, NaN between the epsilons."""
    accuracies = np.full(columns, np.nan)
    cells = dict(sweep.cells[key])
    if (clean := sweep.acc_clean(key)) is not None:
        # a curve begins at the clean accuracy, as its AUC does
        cells.setdefault(0.0, Cell(epsilon=0.0, accuracy=clean))
    for epsilon, cell in cells.items():
        if cell.accuracy is not None:
            column = min(columns - 1, round((epsilon - low) / (high - low) * (columns - 1)))
            accuracies[column] = cell.accuracy
    return accuracies


def legend_of(key: Key) -> str:
    return key[0] + (f" ← {key[1]}" if key[1] else "")
