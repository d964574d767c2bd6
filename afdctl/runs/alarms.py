"""The alarms of a training: what each measures, its threshold with the reason, and what to do. Fast to import.

`training.alarms` raises them; the dashboard, the progress on stderr, `runs show` and the report print them from here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from afdctl.journal import Row

# D is saturated where its accuracy is farther than this from 0.5: 95 % of its verdicts are right, or wrong
SATURATED: Final = 0.45
# gradients below this are rounding noise of float32
VANISHED: Final = 1e-6
# where an adversary leaves one image in five as it is, the network trains on clean images as if they were x'
UNCHANGED: Final = 0.2
# L_C beyond this multiple of that of equal logits: the network does worse than one that knows nothing
ABOVE_CHANCE: Final = 2.0
# alarms after which an earlier checkpoint may be better than the last one
OVERFITTING: Final = ("catastrophic_overfitting", "robust_overfitting")


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """An alarm is raised above its threshold, or `below` it.

    `measure` formats its value and the threshold, both times `scale`: 100 for accuracies, which are in [0, 1].
    """

    title: str
    measure: str
    threshold: float
    advice: str
    scale: float = 1.0
    below: bool = False

    def badness(self, value: float, threshold: float) -> float:
        """Return how bad a value is: 1 at the threshold, more beyond it."""
        return threshold / max(value, 1e-30) if self.below else value / threshold


# docs/training.md has the reason of every threshold
ALARMS: Final = {
    "catastrophic_overfitting": Alarm(
        title="catastrophic overfitting",
        measure="training accuracy under attack is {0:.1f} points above that of the hold-out (threshold {1:.0f})",
        threshold=0.3,
        scale=100,
        advice="the training adversary no longer attacks: train with more steps (attack.steps), a random start or "
        'attack.name = "apgd_ce"',
    ),
    "robust_overfitting": Alarm(
        title="robust overfitting",
        measure="robust hold-out accuracy is {0:.1f} points below its best (threshold {1:.1f}), that of training rises",
        threshold=0.05,
        scale=100,
        advice="train fewer epochs, or with train.ema_decay, data.extra or data.cutmix",
    ),
    "discriminator_saturated": Alarm(
        title="saturated discriminator",
        measure="its accuracy is {0:.3f} away from 0.5 (threshold {1:.3f})",
        threshold=SATURATED,
        advice="it learns faster than F_theta: lower defense.lr_D, or raise defense.lr_F",
    ),
    "discriminator_dead": Alarm(
        title="dead discriminator",
        measure="the gradient of L_D is {0:.1e} (threshold {1:.1e})",
        threshold=VANISHED,
        below=True,
        advice="it does not learn and L_F means nothing: raise defense.lr_D, or restart with another seed",
    ),
    "unchanged_images": Alarm(
        title="weak adversary",
        measure="{0:.1f} % of x' equal x (threshold {1:.0f} %)",
        threshold=UNCHANGED,
        scale=100,
        advice='set attack.return_iterate = "best_loss" and attack.random_start; if both are set, the gradients vanish',
    ),
    "loss_above_chance": Alarm(
        title="diverging classifier",
        measure="the mean L_C of a block is {0:.1f} (threshold {1:.1f}, twice that of equal logits)",
        threshold=ABOVE_CHANCE,
        advice="the updates are too large: lower defense.lr_C (AFD: or lr_F), or raise train.warmup_fraction",
    ),
    "logit_scale": Alarm(
        title="runaway logit scale",
        measure="the median margin between the two largest logits is {0:.1f} (threshold {1:.1f})",
        # 24 ln 2: float32 has 24 binary digits, so p of the first class rounds to 1
        threshold=16.6,
        advice="cross-entropy loses its gradient, and PGD its strength: use model.norm, defense.weight_decay_C or "
        "defense.label_smoothing, and trust AutoAttack only",
    ),
    "square_beats_gradients": Alarm(
        title="masked gradients",
        measure="Square fools {0:.1f} % of the hold-out, images that APGD does not fool (threshold {1:.0f} %)",
        threshold=0.05,
        scale=100,
        advice="do not trust PGD on this model: sweep it with AutoAttack, and look for what hides the gradients",
    ),
}


def format_alarm(row: Row) -> str:
    """Format an `alarm` row: what was measured, the threshold, and what to do."""
    alarm = ALARMS.get(row["name"])
    if alarm is None:
        # of a newer version
        return f"{row['name']}: {row['value']:.4g} (threshold {row['threshold']:.4g}); {row['advice']}"
    values = row["value"] * alarm.scale, row["threshold"] * alarm.scale
    text = alarm.measure.format(*values)
    return f"{alarm.title}: {text}; {row['advice']}"


def alarm_title(row: Row) -> str:
    """Return the name of an `alarm` row as the screen shows it."""
    name = str(row["name"])
    return ALARMS[name].title if name in ALARMS else name


def format_alarms(rows: Iterable[Row]) -> list[str]:
    """Format the alarms of a run, each with its step."""
    return [f"alarm at step {row['step']:,}: {format_alarm(row)}" for row in rows]


def alarm_row(
    name: str, step: int, value: float, threshold: float, best: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the journal row of an alarm; `best` is the `epoch` row of the best checkpoint, where that was validated.

    The advice quotes its accuracy, because `best` may be of the first epoch.
    """
    advice = ALARMS[name].advice
    if best and name in OVERFITTING:
        robust = best.get("acc_probe", best["acc_adv"])
        worth = f"{robust:.1%} of the hold-out under attack"
        advice += f"; `best` is of epoch {best['epoch']}, with {worth}"
        advice += ", which no later epoch has exceeded" if best["epoch"] == 1 else ""
    return {"event": "alarm", "name": name, "step": step, "value": value, "threshold": threshold, "advice": advice}
