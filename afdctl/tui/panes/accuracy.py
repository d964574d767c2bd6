"""The accuracy pane: validation, tests and the bound of Eq. 5; or the accuracies of compared runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from afdctl.formatting import format_duration
from afdctl.journal import Row
from afdctl.runs.provenance import differing_keys
from afdctl.tui.drawing import plot
from afdctl.tui.drawing.axis import Range
from afdctl.tui.drawing.cells import Cells, Palette, Span
from afdctl.tui.panes import charts, health
from afdctl.tui.panes.chart_data import sample_curve, visible_range, x_ticks
from afdctl.tui.panes.charts import CurveSpec
from afdctl.tui.state.history import History
from afdctl.tui.view import Settings, Snapshot, View

COLOURS = {"acc_nat": "good", "acc_adv": "other", "acc_probe": "d_hdh"}
# the smallest height and width of the curves below the table
MIN_CURVES_HEIGHT, MIN_CURVES_WIDTH = 6, 24
# where the columns of the tables end
COLUMN_ENDS = (20, 27, 35)

# draws a line of the pane in row y
Line = Callable[[Cells, int], None]


@dataclass(frozen=True)
class Bound:
    """Eq. 5: err_adv <= err_nat + d/2 + a constant. The slack leaves the constant out."""

    err_nat: float
    half_d: float
    err_adv: float
    estimate: str

    @property
    def slack(self) -> float:
        return self.err_nat + self.half_d - self.err_adv


def compute_bound(history: History) -> Bound | None:
    """Return the terms of Eq. 5 at the last validation; None without a discriminator or a validation."""
    rows = validation_rows(history)
    d_accuracy = health.d_accuracy(history)
    if not rows or d_accuracy is None:
        return None
    last = rows[-1]
    # the probe also attacks what APGD-CE left, so its accuracy is the tighter bound
    robust: float = last["acc_probe"] if "acc_probe" in last else last["acc_adv"]
    return Bound(
        err_nat=1 - last["acc_nat"],
        half_d=min(1.0, abs(2 * d_accuracy - 1)),
        err_adv=1 - robust,
        estimate=charts.estimate_of(history),
    )


def validation_rows(history: History) -> list[Row]:
    """Return the rows of the epochs that ended with a validation."""
    return [row for row in history.epochs if isinstance(row.get("acc_nat"), int | float)]


def draw(snapshot: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """Draw the last and best validation, the tests, the bound, and curves if there is room."""
    cells = Cells(width, height, palette)
    rows = validation_rows(snapshot.history)
    images = [(f"validation, {rows[-1].get('n', 0):,} images", palette.ink("dim"))] if rows else []
    cells.frame([("Accuracy", palette.ink("strong", bold=True))], images)
    history = snapshot.history
    lines = [
        *_validation_lines(snapshot, rows, palette),
        *_test_lines(history, palette),
        *_bound_lines(history, palette),
    ]
    if len(lines) > height - 2:
        lines = [line for line in lines if line is not blank_line]
    for y, line in enumerate(lines[: height - 2], 1):
        line(cells, y)
    free_height = height - 3 - len(lines)
    if len(rows) > 1 and free_height >= MIN_CURVES_HEIGHT and width >= MIN_CURVES_WIDTH:
        cells.paste(2, height - 1 - free_height, draw_curves(snapshot, width - 4, free_height, palette))
    return cells


def draw_curves(snapshot: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """Draw the accuracies of all validations by epoch."""
    validations = snapshot.history.validations
    x_range = visible_range(snapshot.history, View(), "epoch")
    specs = [
        CurveSpec(metric=name, colour=colour, band=False)
        for name, colour in COLOURS.items()
        if name in validations.names
    ]
    columns = 2 * (width - 5)
    # a validation is a mean over its images already
    curves = [sample_curve(validations, spec, x_range, columns, Settings(beta=0.0)) for spec in specs]
    ticks = x_ticks(snapshot.history, x_range, Settings(), "epoch", columns // 2)
    return plot.draw(plot.Plot(curves=curves, y=Range(0, 1), ticks=ticks), width, height, 4, 1, palette)


def column_line(name: Span, *values: Span) -> Line:
    """Return a line of a name and right-aligned columns."""

    def put(cells: Cells, y: int) -> None:
        cells.put(2, y, name, end=cells.width - 1)
        for value, end in zip(values, COLUMN_ENDS, strict=False):
            cells.put_right(min(end + 1, cells.width - 2), y, value)

    return put


def value_line(name: Span, value: Span, note: Span) -> Line:
    """Return a line of a name, a value, and a note at the right."""

    def put(cells: Cells, y: int) -> None:
        cells.put(2, y, name)
        end = cells.put_right(cells.width - 2, y, note)
        cells.put(15, y, value, end=end)

    return put


def blank_line(cells: Cells, y: int) -> None:
    """Draw nothing; left out where the pane is too low."""


def _validation_lines(snapshot: Snapshot, rows: list[Row], palette: Palette) -> list[Line]:
    dim, strong = palette.ink("dim"), palette.ink("strong", bold=True)
    if not rows:
        return [column_line(("after the first epoch", dim))]
    table, last = snapshot.history.table("validation"), rows[-1]
    metrics = [("clean", "acc_nat"), (f"APGD-{table.get('steps', '')}", "acc_adv")]
    metrics += [("probe", "acc_probe")] if "acc_probe" in last else []
    # grey if a validation that was due is missing
    interval = int((snapshot.history.run.get("validation") or {}).get("interval") or 1)
    fresh = snapshot.history.epoch - last["epoch"] <= interval
    lines = [column_line(("", dim), ("now", dim), ("best", dim), ("epoch", dim))]
    for name, metric in metrics:
        # a row may lack the probe, and NaN is null in the journal
        best = max(rows, key=lambda row: float(row.get(metric) or 0))
        lines.append(
            column_line(
                (name, palette.ink("text")),
                (percent(last[metric]), palette.ink(COLOURS[metric], bold=True) if fresh else dim),
                (percent(best[metric]), strong),
                (f"{best['epoch']}", dim),
            )
        )
    age = ""
    # the time since a training ended means nothing
    if not snapshot.state.over and not snapshot.history.end:
        age = f", {format_duration(snapshot.history.elapsed - last['elapsed'])} ago"
    lines.append(column_line((f"no AutoAttack; epoch {last['epoch']}{age}", dim)))
    if "acc_probe" in last:
        queries = f"T-{table.get('targets', '')}, Square-{table.get('square_queries', '')}"
        lines.append(column_line((f"probe: APGD, {queries}", dim)))
    return lines


def _test_lines(history: History, palette: Palette) -> list[Line]:
    if not history.tests:
        return []
    dim, strong, text = palette.ink("dim"), palette.ink("strong", bold=True), palette.ink("text")
    first = next(iter(history.tests.values()))
    attack, has_square = str(first.get("attack", "PGD")).split()[0], "acc_square" in first
    heads = [(head, dim) for head in ("clean", attack, "Square" if has_square else "step")]
    lines: list[Line] = [blank_line, column_line(("test split", text), *heads)]
    for checkpoint in ("best", "last"):
        if row := history.tests.get(checkpoint):
            lines.append(
                column_line(
                    (checkpoint, text),
                    (percent(row["acc_nat"]), strong),
                    (percent(row["acc_adv"]), strong),
                    (percent(row.get("acc_square")), strong) if has_square else (f"{row['checkpoint_step']:,}", dim),
                )
            )
    return [*lines, column_line((f"no AutoAttack; {first['n']:,} images", dim))]


def _bound_lines(history: History, palette: Palette) -> list[Line]:
    bound = compute_bound(history)
    if bound is None:
        return []
    dim, text, strong = palette.ink("dim"), palette.ink("text"), palette.ink("strong")
    verdict = (
        (f"✔ slack {bound.slack:+.3f}", palette.ink("good"))
        if bound.slack >= 0
        else (f"! short {bound.slack:+.3f}", palette.ink("warn"))
    )
    return [
        blank_line,
        column_line(("bound, Eq. 5", text)),
        value_line(("ε_Z", text), (f"{bound.err_nat:.3f}", strong), ("natural error", dim)),
        value_line(("½ d_HΔH", text), (f"{bound.half_d:.3f}", strong), (bound.estimate, dim)),
        value_line(("ε'_Z ≤ c +", text), (f"{bound.err_nat + bound.half_d:.3f}", strong), ("their sum", dim)),
        value_line(("ε'_Z", text), (f"{bound.err_adv:.3f}", strong), verdict),
    ]


def draw_compared(snapshot: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """Draw the last accuracies of compared runs, then the recipe values in which they differ."""
    cells = Cells(width, height, palette)
    cells.frame([("Compared runs", palette.ink("strong", bold=True))])
    dim, y = palette.ink("dim"), 1
    cells.put_right(width - 2, y, ("clean   APGD", dim))
    for other in snapshot.others:
        y += 1
        row = next((row for row in reversed(other.history.epochs) if "acc_nat" in row), {})
        accuracies = f"{percent(row.get('acc_nat')):>5}  {percent(row.get('acc_adv')):>5}"
        end = cells.put_right(width - 2, y, (accuracies, palette.ink("strong")))
        ink = palette.ink(other.colour, bold=True)
        cells.put(2, y, (f"{other.letter} {other.state.mark} ", ink), (other.name, palette.ink("text")), end=end - 1)
    y += 1
    cells.put(2, y, ("validation, no AutoAttack", dim), end=width - 1)
    y += 2
    differing = differing_keys([other.history.recipe for other in snapshot.others], missing="—")
    heading = "differing values" if differing else "the recipes are equal"
    cells.put(2, y, (heading, palette.ink("text")), end=width - 1)
    for x, spans in _differing_rows(snapshot, differing, palette):
        y += 1
        if y < height - 1:
            cells.put(x, y, *spans, end=width - 1)
    return cells


def _differing_rows(
    snapshot: Snapshot, differing: Mapping[str, Sequence[object]], palette: Palette
) -> list[tuple[int, list[Span]]]:
    """Return the column and the text of each row: a key, then each run's value."""
    rows: list[tuple[int, list[Span]]] = []
    for key, values in differing.items():
        rows.append((2, [(key, palette.ink("dim"))]))
        for other, value in zip(snapshot.others, values, strict=True):
            letter = (f"{other.letter} ", palette.ink(other.colour))
            rows.append((4, [letter, (str(value), palette.ink("strong"))]))
    return rows


def percent(value: object) -> str:
    """Format a fraction as percent with one decimal; a dash for what is not a number."""
    return f"{100 * value:.1f}" if isinstance(value, int | float) else "—"
