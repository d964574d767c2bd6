"""A few words for a terminal that has no room for a chart."""

from afdctl.tui.drawing.axis import figure
from afdctl.tui.drawing.cells import Cells, Span
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.panes.header import one_line
from afdctl.tui.panes.health import d_accuracy
from afdctl.tui.snapshot import Snapshot


def draw(facts: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """The state and progress, then as many figures as there are rows."""
    cells = Cells(width, height, palette)
    cells.put(0, 0, *one_line(facts, palette))
    for y, (name, value) in enumerate(figures(facts)[: height - 1], 1):
        spans: list[Span] = [(f"{name} ", palette.ink("dim")), (value, palette.ink("strong", bold=True))]
        cells.put(0, y, *spans)
    return cells


def figures(facts: Snapshot) -> list[tuple[str, str]]:
    """What matters most of a run, the most important first."""
    history = facts.history
    found = [("step", f"{history.step:,}/{history.steps_total:,}")] if history.run else []
    rows = [row for row in history.epochs if isinstance(row.get("acc_adv"), int | float)]
    found += [("PGD", f"{rows[-1]['acc_adv']:.1%} no AA")] if rows else []
    discriminator = d_accuracy(history)
    if discriminator is not None:
        found.append(("D acc", f"{discriminator:.3f}"))
    series, beta = history.series, facts.view.kept.beta
    losses = [name for name in ("L_C", "L_D", "L_F") if name in series.names]
    return [*found, *((name, figure(series.latest(name, beta))) for name in losses)]
