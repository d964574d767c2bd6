"""Raise the alarms of a training, each once per episode, from the rows that the trainer writes to the journal."""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite, log, sqrt
from typing import Any, Final

from torch import nn

from afdctl.recipe import Recipe
from afdctl.runs.alarms import ALARMS, alarm_row

Row = Mapping[str, Any]
# an episode ends where a value is this far back behind its threshold, so that noise does not begin it again
QUIET: Final = 0.8
# hold-out accuracy that has collapsed: as a share of its best, or at all
COLLAPSED: Final = 0.5
COLLAPSED_FROM_START: Final = 0.05
# below this many standard deviations a fall of accuracy may be chance
DEVIATIONS: Final = 3.0
# the steps over which step metrics are averaged: a tenth of the training, within these limits
SHORTEST, LONGEST = 50, 500


class Mean:
    """The mean of each metric over the rows since it was last taken; values that are not finite do not count."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = {}
        self.rows = 0

    def add(self, row: Row) -> None:
        self.rows += 1
        for name in ("L_C", "acc_adv", "alpha_h", "alpha_h_calibrated", "grad_D", "fraction_unchanged"):
            value = row.get(name)
            if isinstance(value, int | float) and isfinite(value):
                total, count = self.sums.get(name, (0.0, 0))
                self.sums[name] = [total + value, count + 1]

    def take(self) -> dict[str, float]:
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums, self.rows = {}, 0
        return means


class AlarmDetector:
    """Watches the rows of one training. `state_dict` makes a resumed training raise the same alarms."""

    def __init__(self, recipe: Recipe, steps_total: int, classes: int, network: nn.Module | None = None) -> None:
        # a user's `step` may forget to update the network; its weights after the first epoch show it
        self.network, self.first_sums = network, list[float]()
        users_defense = "defense" in (recipe.user_code or {})
        if network is not None and users_defense:
            self.first_sums = _weight_sums(network)
        # L_C of equal logits, at least; a user's L_C may be another loss
        margin = recipe.defense.margin * (recipe.model.cosine_scale or 0.0)
        self.chance = None if users_defense else log(classes) + margin
        self.warmup = recipe.attack.epsilon_warmup_epochs
        # a Wasserstein critic's scores have no zero
        is_critic = getattr(recipe.defense, "game", None) == "wgan"
        self.alpha = "alpha_h_calibrated" if is_critic else "alpha_h"
        # without an adversary there is no gradient to mask
        self.adversarial = recipe.descriptor.attacked
        self.window = min(LONGEST, max(SHORTEST, steps_total // 10))
        self.block, self.epoch = Mean(), Mean()
        self.active: set[str] = set()
        # of the hold-out under attack, with the training accuracy of that epoch
        self.best: tuple[float, float | None] = (0.0, None)

    def state_dict(self) -> dict[str, Any]:
        means = {name: {"sums": mean.sums, "rows": mean.rows} for name, mean in self._means().items()}
        return {"active": sorted(self.active), "best": list(self.best), "first_sums": self.first_sums, **means}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.active, self.first_sums = set(state["active"]), list(state["first_sums"])
        self.best = (state["best"][0], state["best"][1])
        for name, mean in self._means().items():
            mean.sums, mean.rows = dict(state[name]["sums"]), state[name]["rows"]

    def of_steps(self, rows: Iterable[Row]) -> list[dict[str, Any]]:
        """Return the rows of alarms that these steps raise."""
        raised: list[dict[str, Any]] = []
        for row in rows:
            self.block.add(row)
            self.epoch.add(row)
            if self.block.rows == self.window:
                raised += self._raise(self._step_values(self.block.take(), row["step"]), row["step"])
        return raised

    def of_epoch(self, row: Row, best: Row) -> list[dict[str, Any]]:
        """Return the rows of alarms that an `epoch` row raises, after all of its steps; `best` is the best epoch's."""
        trained = self.epoch.take().get("acc_adv")
        raised = self._raise(self._epoch_values(row, trained), row["step"], best) if "acc_adv" in row else []
        return [*self._of_still_weights(row["step"]), *raised]

    def _of_still_weights(self, step: int) -> list[dict[str, Any]]:
        """Return a warning where a user's defense has moved no weight of the network in its first epoch."""
        still = self.network is not None and self.first_sums and self.first_sums == _weight_sums(self.network)
        self.first_sums = []
        message = "step() moved no weight of the network in this epoch; update it, as self.step_classifier(loss) does"
        return [{"event": "warning", "step": step, "message": message}] if still else []

    def _means(self) -> dict[str, Mean]:
        return {"block": self.block, "epoch": self.epoch}

    def _step_values(self, means: Mapping[str, float], step: int) -> Iterator[tuple[str, float, float]]:
        """Yield name, value and threshold of what a block that ends with `step` measures."""
        # the first steps may be wild in a training that then recovers
        if self.chance and "L_C" in means and step > self.window:
            yield "loss_above_chance", means["L_C"], ALARMS["loss_above_chance"].threshold * self.chance
        if self.alpha in means:
            yield _measured("discriminator_saturated", abs(means[self.alpha] / 2 - 0.5))
        if "grad_D" in means:
            yield _measured("discriminator_dead", means["grad_D"])
        if "fraction_unchanged" in means:
            yield _measured("unchanged_images", means["fraction_unchanged"])

    def _epoch_values(self, row: Row, trained: float | None) -> Iterator[tuple[str, float, float]]:
        """Yield name, value and threshold of what a validation measures."""
        robust, (best, trained_at_best) = row.get("acc_probe", row["acc_adv"]), self.best
        # until then the training's ball is smaller than that of the hold-out
        if trained is not None and row["epoch"] > self.warmup:
            # twice that during an episode, which noise about the limit must not end
            limit = max(COLLAPSED * best, COLLAPSED_FROM_START) * (1 + ("catastrophic_overfitting" in self.active))
            collapsed = robust < limit
            yield _measured("catastrophic_overfitting", trained - robust if collapsed else 0.0)
            rising = trained_at_best is not None and trained > trained_at_best
            deviation = sqrt(best * (1 - best) / row["n"])
            threshold = max(ALARMS["robust_overfitting"].threshold, DEVIATIONS * deviation)
            yield "robust_overfitting", best - robust if rising and not collapsed else 0.0, threshold
        if robust > best:
            self.best = robust, trained
        if "logit_margin" in row and self.adversarial:
            yield _measured("logit_scale", row["logit_margin"])
        if "acc_apgd_t" in row:
            yield _measured("square_beats_gradients", row["acc_apgd_t"] - row["acc_probe"])

    def _raise(
        self, values: Iterable[tuple[str, float, float]], step: int, best: Row | None = None
    ) -> list[dict[str, Any]]:
        """Begin and end episodes; return a row for each that begins."""
        raised = []
        for name, value, threshold in values:
            badness = ALARMS[name].badness(value, threshold)
            if badness > 1 and name not in self.active:
                self.active.add(name)
                raised.append(alarm_row(name, step, value, threshold, best))
            elif badness < QUIET:
                self.active.discard(name)
        return raised


def _weight_sums(network: nn.Module) -> list[float]:
    """Return the sum of each trained weight tensor, which nearly any update changes."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    # on the CPU, because MPS has no float64
    return [parameter.detach().cpu().double().sum().item() for parameter in trained]


def _measured(name: str, value: float) -> tuple[str, float, float]:
    return name, value, ALARMS[name].threshold
