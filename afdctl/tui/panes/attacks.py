"""A sweep: attacks by epsilon, filling up; and the accuracy by epsilon of each."""

from collections.abc import Sequence

import numpy as np

from afdctl.formatting import NORM_LABELS
from afdctl.tui.drawing.axis import Floats, Range, duration
from afdctl.tui.drawing.cells import Cells, Span
from afdctl.tui.drawing.palette import COMPARED, Palette
from afdctl.tui.drawing.plot import Curve, Plot, draw, margins
from afdctl.tui.panes.header import bar, epsilon_text
from afdctl.tui.snapshot import Snapshot
from afdctl.tui.state.sweep import Cell, Key, SweepProgress

NAME_WIDTH = 24
UNIT = Range(0, 1)
CURVES_WIDTH = 36
"""The least width at which curves can be told apart."""


def draw_grid(facts: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """A row an attack, a column an epsilon; a cell is as light as the accuracy in it is high."""
    cells = Cells(width, height, palette)
    sweep = facts.history.sweep
    cells.frame([("Attacks", palette.ink("strong", bold=True)), (f"  {about(sweep)}", palette.ink("dim"))])
    if not sweep.cells or width < 20 or height < 4:
        return cells
    _total(cells, 1, facts)
    y = 2
    for norm in sweep.norms_in_order:
        y = _norm(cells, y, sweep, norm)
    return cells


def _norm(cells: Cells, y: int, sweep: SweepProgress, norm: str) -> int:
    """The attacks of one norm under a line with their epsilons; the row behind them."""
    epsilons, width = sweep.epsilons(norm), cells.width
    name_width = min(NAME_WIDTH, width // 3)
    each = min(10, max(5, (width - name_width - 12) // len(epsilons)))
    shown = epsilons[: max(1, (width - name_width - 12) // each)]
    if y >= cells.height - 2:
        return y
    dim = cells.palette.ink("dim")
    cells.put(2, y, ("ε", dim))
    for column, epsilon in enumerate(shown):
        cells.put_right(name_width + (column + 1) * each, y, (epsilon_text(epsilon), dim))
    cells.put_right(width - 2, y, ("AUC", dim))
    for key in sweep.attacks(norm):
        y += 1
        if y < cells.height - 1:
            _attack(cells, y, sweep, key, shown, name_width, each)
    return y + 1


def about(sweep: SweepProgress) -> str:
    """What is attacked at present, or of what the results are: the number of images."""
    at_work = {} if sweep.ended else sweep.plan
    words = [str(at_work.get(name)) for name in ("suite", "checkpoint") if at_work.get(name)]
    if sweep.acc_nat is not None:
        words.append(f"clean {sweep.acc_nat:.1%}")
    if not any(attack.startswith("aa") for attack, _ in sweep.cells):
        words.append("no AutoAttack")
    ends = {min(sweep.images, default=0), max(sweep.images, default=0)}
    words.append(f"{' to '.join(f'{n:,}' for n in sorted(ends))} images")
    return ", ".join([*words, f"seed {at_work.get('seed', 0)}"] if at_work else words)


def _total(cells: Cells, y: int, facts: Snapshot) -> None:
    """How many cells are done, and how long the rest will take at this pace."""
    sweep, palette = facts.history.sweep, cells.palette
    share = sweep.finished / max(1, sweep.planned)
    words = f"{sweep.finished} of {sweep.planned} cells"
    if 0 < sweep.finished < sweep.planned and sweep.ended is None and not facts.state.over:
        words += f"   ETA {duration((sweep.now - sweep.since) * (1 - share) / share)}"
    end = cells.put_right(cells.width - 2, y, (words, palette.ink("text")))
    bar(cells, 2, end - 2, y, share, "good")


def _attack(
    cells: Cells, y: int, sweep: SweepProgress, key: Key, epsilons: Sequence[float], name_width: int, each: int
) -> None:
    palette = cells.palette
    attack, source = key
    working = key == sweep.at_work
    mark: Span = ("▸ ", palette.ink("good", bold=True)) if working else ("  ", palette.ink("dim"))
    name = f"{attack} {NORM_LABELS.get(sweep.norms.get(key, ''), sweep.norms.get(key, ''))}" + (
        f" ← {source}" if source else ""
    )
    cells.put(2, y, mark, (name, palette.ink("strong" if working else "text")), end=name_width + 2)
    for column, epsilon in enumerate(epsilons):
        cell = sweep.cells[key].get(epsilon)
        if cell is not None:
            _cell(cells, name_width + column * each + 1, y, each - 1, cell, working)
    auc = sweep.auc(key)
    if working and auc is None and sweep.of:
        cells.put_right(cells.width - 2, y, (f"{sweep.done:,}/{sweep.of:,}", palette.ink("dim")))
    else:
        cells.put_right(
            cells.width - 2,
            y,
            (f"{auc:.3f}" if auc is not None else "—", palette.ink("strong" if auc is not None else "faint")),
        )


def _cell(cells: Cells, x: int, y: int, width: int, cell: Cell, working: bool) -> None:
    palette = cells.palette
    if cell.accuracy is None:
        cells.put_right(x + width, y, ("…" if working else "·", palette.ink("faint")))
        return
    text = f"{'~' if cell.partial else ''}{100 * cell.accuracy:.1f}".rjust(width)
    if palette.tints:
        cells.put(
            x, y, (text, palette.ink("strong", f"good/{round(0.06 + 0.4 * cell.accuracy, 2)}", bold=not cell.partial))
        )
    else:
        colour = "good" if cell.accuracy >= 0.5 else "warn" if cell.accuracy >= 0.2 else "bad"
        cells.put(x, y, (text, palette.ink("dim" if cell.partial else colour)))


def draw_curves(facts: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """Accuracy by epsilon, a chart a norm side by side: epsilons of two norms have nothing to do with each other."""
    cells, sweep = Cells(width, height, palette), facts.history.sweep
    begun = [norm for norm in sweep.norms_in_order if sweep.begun(norm)] or sweep.norms_in_order[:1]
    room = max(1, width // CURVES_WIDTH)
    if len(begun) > room:
        at_work = sweep.norms.get(sweep.at_work or ("", ""), "")
        begun = sorted(begun, key=lambda norm: norm != at_work)[:room]
    for place, norm in enumerate(begun):
        x, end = width * place // len(begun), width * (place + 1) // len(begun)
        cells.paste(x, 0, _curves(sweep, norm, end - x, height, palette))
    return cells


def _curves(sweep: SweepProgress, norm: str, width: int, height: int, palette: Palette) -> Cells:
    """The attacks of one norm, a colour an attack."""
    cells = Cells(width, height, palette)
    cells.frame([(f"Accuracy by ε {NORM_LABELS.get(norm, norm)}".rstrip(), palette.ink("strong", bold=True))])
    inner_width, inner_height = width - 4, height - 2
    if inner_width < 24 or inner_height < 4 or not sweep.cells:
        return cells
    keys, epsilons = sweep.begun(norm), sweep.epsilons(norm)
    # the names of the curves lie right of them
    legend = min(30, max((len(legend_of(key)) for key in keys), default=0) + 3)
    plot_width = inner_width - legend
    low, high = 0.0, epsilons[-1] or 1.0
    left, right = margins(Plot([], UNIT), inner_height)
    columns = 2 * (plot_width - left - right)
    curves = [
        Curve(
            at_epsilons(sweep, key, low, high, columns),
            np.zeros(columns, bool),
            COMPARED[place % len(COMPARED)],
            letter(place),
        )
        for place, key in enumerate(keys)
    ]
    ticks = [((epsilon - low) / (high - low), epsilon_text(epsilon)) for epsilon in epsilons]
    cells.paste(2, 1, draw(Plot(curves, UNIT, ticks=ticks), plot_width, inner_height, left, right, palette))
    for place, key in enumerate(keys[:inner_height]):
        ink = palette.ink(COMPARED[place % len(COMPARED)], bold=True)
        name = legend_of(key), palette.ink("text")
        cells.put(2 + plot_width + 1, place + 1, (f"{letter(place)} ", ink), name, end=width - 1)
    return cells


def at_epsilons(sweep: SweepProgress, key: Key, low: float, high: float, columns: int) -> Floats:
    """The accuracies of one attack in dot columns, NaN between the epsilons."""
    out = np.full(columns, np.nan)
    cells = dict(sweep.cells[key])
    if sweep.acc_nat is not None:
        cells.setdefault(0.0, Cell(0.0, sweep.acc_nat))
    for epsilon, cell in cells.items():
        if cell.accuracy is not None:
            out[min(columns - 1, round((epsilon - low) / (high - low) * (columns - 1)))] = cell.accuracy
    return out


def legend_of(key: Key) -> str:
    return key[0] + (f" ← {key[1]}" if key[1] else "")


def letter(place: int) -> str:
    """What tells curves apart without colours."""
    return "abcdefghijklmnopqrstuvwxyz"[place % 26]
