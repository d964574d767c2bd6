"""Accuracy on the hold-out and on the test split, and the bound of Eq. 5."""

from collections.abc import Callable
from dataclasses import dataclass

from afdctl.journal import Row
from afdctl.tui.drawing import plot
from afdctl.tui.drawing.axis import Range, duration
from afdctl.tui.drawing.cells import Cells, Span
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.panes import charts, health
from afdctl.tui.panes.chart_data import curve, x_range, x_ticks
from afdctl.tui.panes.charts import CurveSpec
from afdctl.tui.snapshot import Snapshot
from afdctl.tui.state.history import History
from afdctl.tui.view import Settings, View

COLOURS = {"acc_nat": "good", "acc_adv": "other", "acc_square": "d_hdh"}
LEAST_CURVES = 6


@dataclass(frozen=True)
class Bound:
    """Eq. 5: err_adv <= err_nat + d/2 + a constant. `slack` is what is left without the constant."""

    err_nat: float
    half_d: float
    err_adv: float
    estimate: str

    @property
    def slack(self) -> float:
        return self.err_nat + self.half_d - self.err_adv


def bound(history: History) -> Bound | None:
    """The bound's parts at the last validation; None without a discriminator or a validation."""
    rows = [row for row in history.epochs if isinstance(row.get("acc_nat"), int | float)]
    accuracy = health.d_accuracy(history)
    if not rows or accuracy is None:
        return None
    last = rows[-1]
    robust: float = last["acc_square"] if "acc_square" in last else last["acc_adv"]
    return Bound(1 - last["acc_nat"], min(1.0, abs(2 * accuracy - 1)), 1 - robust, charts.estimate_of(history))


def draw(facts: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """The table of now, best and epoch, the tests, and the bound, as far as there is room."""
    cells = Cells(width, height, palette)
    rows = [row for row in facts.history.epochs if isinstance(row.get("acc_nat"), int | float)]
    cells.frame(
        [("Accuracy", palette.ink("strong", bold=True))],
        [(f"validation, {rows[-1].get('n', 0):,} images" if rows else "", palette.ink("dim"))] if rows else [],
    )
    lines = [*_validation(facts, rows, palette), *_tests(facts.history, palette), *_bound(facts.history, palette)]
    if len(lines) > height - 2:
        lines = [line for line in lines if line is not blank]
    for y, line in enumerate(lines[: height - 2], 1):
        line(cells, y)
    spare = height - 3 - len(lines)
    if len(rows) > 1 and spare >= LEAST_CURVES and width >= 24:
        cells.paste(2, height - 1 - spare, curves(facts, width - 4, spare, palette))
    return cells


def curves(facts: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """The accuracies of all validations by epoch, small."""
    validations = facts.history.validations
    part = x_range(facts.history, View(), "epoch")
    traces = [CurveSpec(name, "", colour, band=False) for name, colour in COLOURS.items() if name in validations.names]
    number = 2 * (width - 5)
    drawn = [curve(validations, trace, part, number, Settings(beta=0.0)) for trace in traces]
    ticks = x_ticks(facts.history, part, Settings(), "epoch", number // 2)
    return plot.draw(plot.Plot(drawn, Range(0, 1), ticks=ticks), width, height, 4, 1, palette)


Line = Callable[[Cells, int], None]


def columns(*texts: Span) -> Line:
    """A line of a name and right-aligned columns."""
    ends = (0, 20, 27, 35)

    def put(cells: Cells, y: int) -> None:
        cells.put(2, y, texts[0], end=cells.width - 1)
        for text, end in zip(texts[1:], ends[1:], strict=False):
            cells.put_right(min(end + 1, cells.width - 2), y, text)

    return put


def pair(name: Span, value: Span, note: Span) -> Line:
    """A line of a name, a figure, and a note at the right."""

    def put(cells: Cells, y: int) -> None:
        cells.put(2, y, name)
        end = cells.put_right(cells.width - 2, y, note)
        cells.put(15, y, value, end=end)

    return put


def blank(cells: Cells, y: int) -> None:
    """An empty line."""


def _validation(facts: Snapshot, rows: list[Row], palette: Palette) -> list[Line]:
    dim, strong = palette.ink("dim"), palette.ink("strong", bold=True)
    if not rows:
        return [columns(("after the first epoch", dim))]
    table, last = facts.history.table("validation"), rows[-1]
    named = [("clean", "acc_nat"), (f"PGD-{table.get('steps', '')}", "acc_adv")]
    named += [(f"+ Square-{table.get('square_queries', '')}", "acc_square")] if "acc_square" in last else []
    # grey where an epoch has passed without a validation
    fresh = facts.history.epoch - last["epoch"] <= 1
    found = [columns(("", dim), ("now", dim), ("best", dim), ("epoch", dim))]
    for name, key in named:
        best = max(rows, key=lambda row: float(row.get(key) or 0))
        found.append(
            columns(
                (name, palette.ink("text")),
                (percent(last[key]), palette.ink(COLOURS[key], bold=True) if fresh else dim),
                (percent(best[key]), strong),
                (f"{best['epoch']}", dim),
            )
        )
    age = "" if facts.state.over or facts.history.end else f", {duration(facts.history.elapsed - last['elapsed'])} ago"
    found.append(columns((f"no AutoAttack; epoch {last['epoch']}{age}", dim)))
    return found


def _tests(history: History, palette: Palette) -> list[Line]:
    if not history.tests:
        return []
    dim, strong, text = palette.ink("dim"), palette.ink("strong", bold=True), palette.ink("text")
    first = next(iter(history.tests.values()))
    attack, searched = str(first.get("attack", "PGD")).split()[0], "acc_square" in first
    heads: list[Span] = [(head, dim) for head in ("clean", attack, "Square" if searched else "step")]
    found: list[Line] = [blank, columns(("test split", text), *heads)]
    for which in ("best", "last"):
        if row := history.tests.get(which):
            found.append(
                columns(
                    (which, text),
                    (percent(row["acc_nat"]), strong),
                    (percent(row["acc_adv"]), strong),
                    (percent(row.get("acc_square")), strong) if searched else (f"{row['checkpoint_step']:,}", dim),
                )
            )
    return [*found, columns((f"no AutoAttack; {first['n']:,} images", dim))]


def _bound(history: History, palette: Palette) -> list[Line]:
    parts = bound(history)
    if parts is None:
        return []
    dim, text, strong = palette.ink("dim"), palette.ink("text"), palette.ink("strong")
    holds = parts.slack >= 0
    verdict = (
        (f"✔ slack {parts.slack:+.3f}", palette.ink("good"))
        if holds
        else (f"! short {parts.slack:+.3f}", palette.ink("warn"))
    )
    return [
        blank,
        columns(("bound, Eq. 5", text)),
        pair(("ε_Z", text), (f"{parts.err_nat:.3f}", strong), ("natural error", dim)),
        pair(("½ d_HΔH", text), (f"{parts.half_d:.3f}", strong), (parts.estimate, dim)),
        pair(("ε'_Z ≤ c +", text), (f"{parts.err_nat + parts.half_d:.3f}", strong), ("their sum", dim)),
        pair(("ε'_Z", text), (f"{parts.err_adv:.3f}", strong), verdict),
    ]


def percent(value: object) -> str:
    """A share as percent with one digit."""
    return f"{100 * value:.1f}" if isinstance(value, int | float) else "—"
