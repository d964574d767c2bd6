"""Game health: what goes wrong in such trainings, each as a figure, a mark and a word."""

import math
from dataclasses import dataclass

from afdctl.tui.drawing.axis import figure
from afdctl.tui.drawing.cells import Cells
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.panes import charts
from afdctl.tui.snapshot import Snapshot
from afdctl.tui.state.history import History

MARKS = {"ok": ("✔", "good"), "warn": ("!", "warn"), "bad": ("✖", "bad"), "none": ("·", "dim")}
SATURATED = 0.45
VANISHED, EXPLODED = 1e-6, 100.0


@dataclass(frozen=True)
class HealthCheck:
    """One line: its name, the figure, and the verdict as a level and a word."""

    name: str
    value: str
    level: str
    word: str


def checks(history: History) -> list[HealthCheck]:
    """The checks that the journal's figures allow."""
    found = [_d_accuracy(history), *_rates(history), _saturated(history), *_gradients(history)]
    found += [_unchanged(history), _drift(history), _not_numbers(history)]
    return [check for check in found if check]


def draw(facts: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """The checks in a frame; the worst come first where there is not room for all."""
    cells = Cells(width, height, palette)
    cells.frame(
        [("Game health" if "alpha_h" in facts.history.series.names else "Health", palette.ink("strong", bold=True))]
    )
    lines = checks(facts.history)
    room = height - 2
    if len(lines) > room:
        worst = sorted(lines, key=lambda check: ["bad", "warn", "ok", "none"].index(check.level))[:room]
        lines = [check for check in lines if check in worst]
    for y, check in enumerate(lines, 1):
        mark, colour = MARKS[check.level]
        x = cells.put(
            2, y, (mark, palette.ink(colour, bold=True)), (" ", palette.ink("text")), (check.name, palette.ink("text"))
        )
        word = [(check.word, palette.ink(colour if check.level != "ok" else "dim"))]
        end = cells.put_right(width - 2, y, *word)
        value_at = max(x + 1, min(18, end - len(check.value) - 1))
        cells.put(value_at, y, (check.value, palette.ink("strong")), end=end - 1)
    if not lines:
        cells.put(2, 1, ("nothing yet", palette.ink("dim")), end=width - 1)
    return cells


def d_accuracy(history: History) -> float | None:
    """The discriminator's mean accuracy over the last hundred steps or so."""
    alpha = "alpha_h_calibrated" if charts.estimate_of(history) == "calibrated" else "alpha_h"
    value = history.series.latest(alpha)
    return None if value is None else value / 2


def _d_accuracy(history: History) -> HealthCheck | None:
    value = d_accuracy(history)
    if value is None:
        return None
    text = f"{value:.3f}"
    if abs(value - 0.5) < 0.15:
        return HealthCheck("D accuracy", text, "ok", "balanced")
    if value < 0.5:
        return HealthCheck("D accuracy", text, "warn", "below chance")
    return (
        HealthCheck("D accuracy", text, "warn", "D is ahead")
        if value < 0.9
        else HealthCheck("D accuracy", text, "bad", "D wins")
    )


def _rates(history: History) -> list[HealthCheck]:
    nat, adv = history.series.latest("d_acc_nat"), history.series.latest("d_acc_adv")
    if nat is None or adv is None:
        return []
    text = f"{nat:.2f} / {adv:.2f}"
    one_sided = min(nat, adv) < 0.1 and max(nat, adv) > 0.9
    if one_sided and charts.estimate_of(history) == "calibrated":
        # a Wasserstein critic may lie wholly on one side of 0
        return [HealthCheck("D on x / x'", text, "none", "shifted critic")]
    return [HealthCheck("D on x / x'", text, "warn" if one_sided else "ok", "one-sided" if one_sided else "both")]


def _saturated(history: History) -> HealthCheck | None:
    if "alpha_h" not in history.series.names:
        return None
    alpha = "alpha_h_calibrated" if charts.estimate_of(history) == "calibrated" else "alpha_h"
    smoothed = history.series.smooth(alpha, 0.9) / 2
    steps = 0
    for value in smoothed[::-1].tolist():
        if not abs(value - 0.5) > SATURATED:
            break
        steps += history.series.width
    level = "ok" if steps < 50 else "warn" if steps < 500 else "bad"
    return HealthCheck("D saturated", f"{steps:,} steps", level, "no" if level == "ok" else "L_F starves")


def _gradients(history: History) -> list[HealthCheck]:
    norms = {which: history.series.latest(f"grad_{which}", 0.9) for which in "CF"}
    found = []
    for which, norm in norms.items():
        if norm is not None:
            level, word = (
                ("bad", "vanished") if norm < VANISHED else ("warn", "large") if norm > EXPLODED else ("ok", "ok")
            )
            found.append(HealthCheck(f"‖∇L_{which}‖", figure(norm), level, word))
    c, f = norms["C"], norms["F"]
    if c and f is not None:
        ratio = f / c
        word = "ok" if 0.001 <= ratio <= 1000 else "one-sided"
        found.append(HealthCheck("∇L_F : ∇L_C", figure(ratio), "ok" if word == "ok" else "warn", word))
    return found


def _unchanged(history: History) -> HealthCheck | None:
    share = history.series.latest("fraction_unchanged")
    if share is None:
        return None
    level, word = (
        ("ok", "attacked") if share < 0.05 else ("warn", "weak attack") if share < 0.5 else ("bad", "attack idles")
    )
    return HealthCheck("x' = x", f"{share:.1%}", level, word)


def _drift(history: History) -> HealthCheck | None:
    """How L_C has moved over the last epoch, in percent."""
    series, per_epoch = history.series, int(history.run.get("steps_per_epoch") or 0)
    if "L_C" not in series.names or not per_epoch or series.length * series.width < 2 * per_epoch:
        return None
    smoothed = series.smooth("L_C", 0.98)
    now, then = smoothed[-1], smoothed[max(0, len(smoothed) - 1 - max(1, per_epoch // series.width))]
    if not (math.isfinite(now) and math.isfinite(then)) or then <= 0:
        return None
    change = now / then - 1
    level, word = ("warn", "rising") if change > 0.1 else ("ok", "falling" if change < -0.01 else "steady")
    return HealthCheck("L_C per epoch", f"{change:+.1%}", level, word)


def _not_numbers(history: History) -> HealthCheck:
    count = history.not_numbers
    return HealthCheck("not a number", f"{count:,}", "bad" if count else "ok", "diverging" if count else "none")
