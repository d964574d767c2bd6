"""The speed of a training: steps per second, time left, and utilisation of the hardware."""

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from afdctl.journal import Row

# how many rows of steps the rates are measured over
WINDOW = 200


class ProgressSample(NamedTuple):
    """A step, the fraction of the training's work that was done after it, and the training time until then."""

    step: int
    share: float
    elapsed: float


class Rates:
    """Rates over the latest steps, with the validations between them."""

    def __init__(self) -> None:
        self._samples: deque[ProgressSample] = deque(maxlen=WINDOW)

    def add(self, step: int, share: float, elapsed: float) -> None:
        """Add a step. Steps that were written together have one time; only the last of them is kept."""
        if self._samples and self._samples[-1].elapsed == elapsed:
            self._samples.pop()
        self._samples.append(ProgressSample(step, share, elapsed))

    def clear(self) -> None:
        self._samples.clear()

    @property
    def steps_per_second(self) -> float | None:
        if len(self._samples) < 2:
            return None
        first, last = self._samples[0], self._samples[-1]
        seconds, steps = last.elapsed - first.elapsed, last.step - first.step
        return steps / seconds if seconds > 0 and steps > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """The time to the last step. Uses the share of work, as later steps may cost more."""
        if len(self._samples) < 2:
            return None
        first, last = self._samples[0], self._samples[-1]
        seconds, work = last.elapsed - first.elapsed, last.share - first.share
        return (1 - last.share) * seconds / work if seconds > 0 and work > 0 and last.share <= 1 else None

    @property
    def seconds_between_writes(self) -> float:
        """The mean time between two writes of steps; 0 where it is unknown."""
        if len(self._samples) < 2:
            return 0.0
        return (self._samples[-1].elapsed - self._samples[0].elapsed) / (len(self._samples) - 1)


def compute_utilisation(last: Row, cost: Row, attack: Mapping[str, Any]) -> float | None:
    """Return FLOP/s relative to a matrix product on this machine; None where the journal lacks the cost of a step."""
    images, batch_size, floor_seconds = last.get("images_per_s"), cost.get("batch_size"), cost.get("floor_seconds")
    if not isinstance(images, int | float) or not isinstance(floor_seconds, int | float):
        return None
    if not isinstance(batch_size, int) or not batch_size:
        return None
    return floor_seconds * _share_of_full_step(last, cost, attack) * images / batch_size


def _share_of_full_step(last: Row, cost: Row, attack: Mapping[str, Any]) -> float:
    """Return the FLOP of the last step relative to one with all attack steps; training may begin with fewer."""
    steps, all_steps = last.get("attack_steps"), attack.get("steps")
    attack_step_flop, flop = cost.get("attack_step_flop"), cost.get("flop")
    if not isinstance(steps, int) or not isinstance(all_steps, int):
        return 1.0
    if not isinstance(attack_step_flop, int) or not isinstance(flop, dict):
        return 1.0
    return 1 - (all_steps - steps) * attack_step_flop / float(sum(flop.values()))
