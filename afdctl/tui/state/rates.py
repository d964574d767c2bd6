"""The speed of a training over its latest steps, and the time that is left."""

from collections import deque
from typing import NamedTuple

# how many rows of steps the speed is measured over
RATE_SAMPLES = 200


class ProgressSample(NamedTuple):
    """A step, the fraction of the training's work that was done after it, and the training time until then."""

    step: int
    share: float
    elapsed: float


class Rates:
    """Rates over the latest steps, with the validations between them."""

    def __init__(self) -> None:
        self._samples: deque[ProgressSample] = deque(maxlen=RATE_SAMPLES)

    def add(self, step: int, share: float, elapsed: float) -> None:
        """Add a step. Steps that were written together have one time; only the last of them is kept."""
        if self._samples and self._samples[-1].elapsed == elapsed:
            self._samples.pop()
        self._samples.append(ProgressSample(step, share, elapsed))

    def clear(self) -> None:
        self._samples.clear()

    @property
    def steps_per_second(self) -> float | None:
        seconds, steps, _ = self._advance()
        return steps / seconds if seconds > 0 and steps > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """The time to the last step. Uses the share of work, as later steps may cost more."""
        seconds, _, work = self._advance()
        share = self._samples[-1].share if self._samples else 0.0
        return (1 - share) * seconds / work if seconds > 0 and work > 0 and share <= 1 else None

    def _advance(self) -> tuple[float, int, float]:
        """Return seconds, steps and share of work from the first sample to the last; zeros for fewer than two."""
        if len(self._samples) < 2:
            return 0.0, 0, 0.0
        first, last = self._samples[0], self._samples[-1]
        return last.elapsed - first.elapsed, last.step - first.step, last.share - first.share

    @property
    def seconds_between_writes(self) -> float:
        """The mean time between two writes of steps; 0 where it is unknown."""
        if len(self._samples) < 2:
            return 0.0
        return (self._samples[-1].elapsed - self._samples[0].elapsed) / (len(self._samples) - 1)
