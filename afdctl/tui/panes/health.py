"""The health pane: checks for what goes wrong in adversarial trainings, each with a value, a mark and a word."""

import math
from dataclasses import dataclass

from afdctl.formatting import format_number
from afdctl.runs.alarms import SATURATED, UNCHANGED, VANISHED, alarm_title
from afdctl.tui.drawing.cells import Cells, Palette
from afdctl.tui.panes import charts
from afdctl.tui.state.history import History
from afdctl.tui.view import Snapshot

MARKS = {"ok": ("✔", "good"), "warn": ("!", "warn"), "bad": ("✖", "bad"), "none": ("·", "dim")}
LEVELS = ("bad", "warn", "ok", "none")
# gradient norm
LARGE = 100.0


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """A line of the pane: name, value, and the result as a level and a word. `explanation` is for the log."""

    name: str
    value: str
    level: str
    word: str
    explanation: str = ""


def run_checks(history: History) -> list[HealthCheck]:
    """Return the checks that the logged metrics allow."""
    checks = [_check_alarms(history), _check_d_accuracy(history), _check_d_sides(history), _check_saturation(history)]
    checks += [*_check_gradients(history), _check_unchanged(history), _check_loss(history), _check_finite(history)]
    return [check for check in checks if check]


def draw(snapshot: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """Draw the checks; only the worst ones where there is no room for all."""
    cells = Cells(width, height, palette)
    cells.frame([("Health", palette.ink("strong", bold=True))])
    checks = run_checks(snapshot.history)
    if len(checks) > height - 2:
        worst = sorted(checks, key=lambda check: LEVELS.index(check.level))[: height - 2]
        # in their usual order, where the reader looks for them
        checks = [check for check in checks if check in worst]
    for y, check in enumerate(checks, 1):
        mark, colour = MARKS[check.level]
        text = palette.ink("text")
        name_end = cells.put(2, y, (mark, palette.ink(colour, bold=True)), (" ", text), (check.name, text))
        word_ink = palette.ink("dim" if check.level == "ok" else colour)
        word_begin = cells.put_right(width - 2, y, (check.word, word_ink))
        x = max(name_end + 1, min(18, word_begin - len(check.value) - 1))
        cells.put(x, y, (check.value, palette.ink("strong")), end=word_begin - 1)
    if not checks:
        cells.put(2, 1, ("nothing yet", palette.ink("dim")), end=width - 1)
    return cells


def d_accuracy(history: History) -> float | None:
    """Return the smoothed accuracy of the discriminator."""
    alpha_h = history.series.latest(_alpha_metric(history))
    return None if alpha_h is None else alpha_h / 2


def _alpha_metric(history: History) -> str:
    return "alpha_h_calibrated" if charts.estimate_of(history) == "calibrated" else "alpha_h"


def _check_alarms(history: History) -> HealthCheck | None:
    """Show the latest alarm; the log has its value and what to do."""
    if not history.alarms:
        return None
    row = history.alarms[-1]
    return HealthCheck(name="alarm", value=alarm_title(row), level="bad", word=f"step {row['step']:,}")


def _check_d_accuracy(history: History) -> HealthCheck | None:
    accuracy = d_accuracy(history)
    if accuracy is None:
        return None
    if abs(accuracy - 0.5) < 0.15:
        level, word = "ok", "balanced"
    elif accuracy < 0.5:
        level, word = "warn", "below chance"
    else:
        level, word = ("warn", "D is ahead") if accuracy < 0.9 else ("bad", "D wins")
    return HealthCheck(name="D accuracy", value=f"{accuracy:.3f}", level=level, word=word)


def _check_d_sides(history: History) -> HealthCheck | None:
    """Check that D gets both natural and adversarial images right."""
    natural, adversarial = history.series.latest("d_acc_nat"), history.series.latest("d_acc_adv")
    if natural is None or adversarial is None:
        return None
    level, word = "ok", "both"
    if min(natural, adversarial) < 0.1 and max(natural, adversarial) > 0.9:
        # only the difference of a Wasserstein critic's outputs counts: all may have the same sign
        offset = charts.estimate_of(history) == "calibrated"
        level, word = ("none", "critic offset") if offset else ("warn", "one-sided")
    value = f"{natural:.2f} / {adversarial:.2f}"
    return HealthCheck(name="D on x / x'", value=value, level=level, word=word)


def _check_saturation(history: History) -> HealthCheck | None:
    """Count the latest steps at which D is saturated, so that L_F has no gradient."""
    if "alpha_h" not in history.series.names:
        return None
    accuracies = history.series.smooth(_alpha_metric(history), 0.9) / 2
    steps = 0
    for accuracy in accuracies[::-1].tolist():
        # not `<=`, so that NaN ends the count
        if not abs(accuracy - 0.5) > SATURATED:
            break
        steps += history.series.width
    level = "ok" if steps < 50 else "warn" if steps < 500 else "bad"
    word = "no" if level == "ok" else "no gradient"
    return HealthCheck(
        name="D saturated",
        value=f"{steps:,} steps",
        level=level,
        word=word,
        explanation="L_F gradient vanishes",
    )


def _check_gradients(history: History) -> list[HealthCheck]:
    norms = {loss: history.series.latest(f"grad_{loss}", 0.9) for loss in "CF"}
    checks = []
    for loss, norm in norms.items():
        if norm is not None:
            level, word = (
                ("bad", "vanished") if norm < VANISHED else ("warn", "large") if norm > LARGE else ("ok", "ok")
            )
            checks.append(HealthCheck(name=f"‖∇L_{loss}‖", value=format_number(norm), level=level, word=word))
    C, F = norms["C"], norms["F"]
    if C and F is not None:
        level, word = ("ok", "ok") if 0.001 <= F / C <= 1000 else ("warn", "one-sided")
        checks.append(HealthCheck(name="∇L_F : ∇L_C", value=format_number(F / C), level=level, word=word))
    return checks


def _check_unchanged(history: History) -> HealthCheck | None:
    """Check the share of images that the attack leaves as they are."""
    share = history.series.latest("fraction_unchanged")
    if share is None:
        return None
    if share < 0.05:
        level, word, explanation = "ok", "attacked", ""
    elif share < UNCHANGED:
        level, word, explanation = "warn", "weak attack", ""
    else:
        level, word, explanation = "bad", "no effect", "attack has no effect"
    return HealthCheck(name="unchanged", value=f"{share:.1%}", level=level, word=word, explanation=explanation)


def _check_loss(history: History) -> HealthCheck | None:
    """Check how L_C changed over the last epoch."""
    series, steps_per_epoch = history.series, int(history.run.get("steps_per_epoch") or 0)
    if "L_C" not in series.names or not steps_per_epoch or series.length * series.width < 2 * steps_per_epoch:
        return None
    losses = series.smooth("L_C", 0.98)
    buckets = max(1, steps_per_epoch // series.width)
    now, before = losses[-1], losses[max(0, len(losses) - 1 - buckets)]
    if not (math.isfinite(now) and math.isfinite(before)) or before <= 0:
        return None
    change = now / before - 1
    level, word = ("warn", "rising") if change > 0.1 else ("ok", "falling" if change < -0.01 else "steady")
    return HealthCheck(name="L_C per epoch", value=f"{change:+.1%}", level=level, word=word)


def _check_finite(history: History) -> HealthCheck:
    count = history.not_finite
    level, word = ("bad", "diverging") if count else ("ok", "none")
    return HealthCheck(name="not a number", value=f"{count:,}", level=level, word=word)
