"""The figures of steps in bounded memory: buckets of equally many steps, which grow together as a run grows.

A bucket keeps the least, the greatest and the sum of each figure, so a spike of one step in a million is still there.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Row = Mapping[str, Any]

CAPACITY = 16384
FIRST = 512
SKIPPED = {"event", "t", "step", "epoch"}


class MetricHistory:
    """Figures by step. `width` is how many steps a bucket holds; it doubles where `capacity` buckets do not suffice.

    Steps up to `base` are not kept.
    """

    def __init__(self, capacity: int = CAPACITY, base: int = 0) -> None:
        self.capacity = capacity
        self.base = base
        self.width = 1
        self.length = 0
        self.names: dict[str, int] = {}
        self.version = 0
        self.rows: NDArray[np.int64] = np.zeros(FIRST, np.int64)
        self.offsets: NDArray[np.int64] = np.zeros(FIRST, np.int64)
        self._low, self._high = (np.full((0, FIRST), np.nan, np.float32) for _ in range(2))
        self._total = np.zeros((0, FIRST))
        self._count = np.zeros((0, FIRST), np.int32)
        self._smooth: dict[tuple[str, float], _EMA] = {}

    @property
    def last_step(self) -> int:
        """The last step that any bucket may hold."""
        return self.base + self.length * self.width

    def extend(self, rows: Sequence[Row], offsets: Sequence[int]) -> None:
        """Add rows of ascending steps (1 is the first); `offsets` says at which byte of the journal each begins."""
        if not rows:
            return
        steps = np.fromiter((row["step"] for row in rows), np.int64, len(rows))
        self._name(rows[0])
        self._make_room(int(steps.max()))
        bucket = np.maximum(steps - 1 - self.base, 0) // self.width
        starts = np.flatnonzero(np.r_[True, bucket[1:] != bucket[:-1]])
        self._fold_in(_matrix(rows, list(self.names)), bucket[starts], starts, np.asarray(offsets, np.int64))
        self.length = max(self.length, int(bucket[-1]) + 1)

    def _fold_in(
        self, values: Floats, into: NDArray[np.int64], starts: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> None:
        """Merge values (names, rows) into the buckets `into`; `starts` says where in the rows each bucket begins."""
        finite = np.isfinite(values)
        self._low[:, into] = np.fmin(self._low[:, into], np.fmin.reduceat(values, starts, axis=1))
        self._high[:, into] = np.fmax(self._high[:, into], np.fmax.reduceat(values, starts, axis=1))
        self._total[:, into] += np.add.reduceat(np.where(finite, values, 0), starts, axis=1)
        self._count[:, into] += np.add.reduceat(finite.astype(np.int32), starts, axis=1)
        fresh = self.rows[into] == 0
        self.offsets[into[fresh]] = offsets[starts[fresh]]
        self.rows[into] += np.diff(np.r_[starts, values.shape[1]])

    def cut(self, step: int) -> None:
        """Forget what comes after `step`: a resumed run does it again. A bucket of several steps stays whole."""
        length = max(0, min(self.length, -(-(step - self.base) // self.width)))
        self._low[:, length : self.length] = self._high[:, length : self.length] = np.nan
        self._total[:, length : self.length] = 0
        self._count[:, length : self.length] = 0
        self.rows[length : self.length] = 0
        self.length = length
        self.version += 1
        self._smooth.clear()

    def steps(self) -> Floats:
        """The middle step of each bucket."""
        steps: Floats = self.base + np.arange(self.length, dtype=np.float64) * self.width + (self.width + 1) / 2
        return steps

    def band(self, name: str) -> tuple[Floats, Floats]:
        """The least and the greatest value of each bucket; NaN where there is none."""
        row = self.names[name]
        return self._low[row, : self.length].astype(float), self._high[row, : self.length].astype(float)

    def mean(self, name: str) -> Floats:
        """The mean of each bucket; NaN where there is none."""
        row = self.names[name]
        count = self._count[row, : self.length]
        total: Floats = self._total[row, : self.length] / np.maximum(count, 1)
        total[count == 0] = np.nan
        return total

    def missing(self, name: str) -> NDArray[np.bool_]:
        """Which buckets hold rows, but none with a number: there a line has a gap."""
        gap: NDArray[np.bool_] = (self.rows[: self.length] > 0) & (self._count[self.names[name], : self.length] == 0)
        return gap

    def smooth(self, name: str, beta: float) -> Floats:
        """The exponential mean of the steps with weight `beta`, without its bias, at the end of each bucket."""
        if beta == 0:
            return self.mean(name)
        known = self._smooth.setdefault((name, beta), _EMA(beta))
        row = self.names[name]
        return known.until(self._total[row, : self.length], self._count[row, : self.length])

    def latest(self, name: str, beta: float = 0.98) -> float | None:
        """The last smoothed value, or None where there is none."""
        if name not in self.names or not self.length:
            return None
        values = self.smooth(name, beta)[-64:]
        finite = values[np.isfinite(values)]
        return float(finite[-1]) if len(finite) else None

    def nearest(self, step: float) -> int | None:
        """The bucket with rows that is nearest to a step."""
        filled = np.flatnonzero(self.rows[: self.length])
        if not len(filled):
            return None
        return int(filled[np.abs(self.steps()[filled] - step).argmin()])

    def _name(self, row: Row) -> None:
        new = [name for name in row if name not in self.names and name not in SKIPPED and _is_figure(row[name])]
        if not new:
            return
        room = self._low.shape[1]
        self.names |= {name: len(self.names) + place for place, name in enumerate(new)}
        empty = np.full((len(new), room), np.nan, np.float32)
        self._low, self._high = np.vstack([self._low, empty]), np.vstack([self._high, empty])
        self._total = np.vstack([self._total, np.zeros((len(new), room))])
        self._count = np.vstack([self._count, np.zeros((len(new), room), np.int32)])

    def _make_room(self, step: int) -> None:
        while step - self.base > self.capacity * self.width:
            self._shrink(step)
        while step - self.base > self._low.shape[1] * self.width:
            more = self._low.shape[1]
            nothing = np.full((len(self.names), more), np.nan, np.float32)
            self._low, self._high = np.hstack([self._low, nothing]), np.hstack([self._high, nothing])
            self._total = np.hstack([self._total, np.zeros((len(self.names), more))])
            self._count = np.hstack([self._count, np.zeros((len(self.names), more), np.int32)])
            self.rows, self.offsets = (np.r_[array, np.zeros(more, np.int64)] for array in (self.rows, self.offsets))

    def _shrink(self, step: int) -> None:
        """Join the buckets by two; what was seen of them stays true."""
        half = self._low.shape[1] // 2
        self._low[:, :half] = np.fmin(self._low[:, ::2], self._low[:, 1::2])
        self._high[:, :half] = np.fmax(self._high[:, ::2], self._high[:, 1::2])
        self._total[:, :half] = self._total[:, ::2] + self._total[:, 1::2]
        self._count[:, :half] = self._count[:, ::2] + self._count[:, 1::2]
        self.offsets[:half] = np.where(self.rows[::2] > 0, self.offsets[::2], self.offsets[1::2])
        self.rows[:half] = self.rows[::2] + self.rows[1::2]
        self._low[:, half:] = self._high[:, half:] = np.nan
        self._total[:, half:] = 0
        self._count[:, half:] = 0
        self.rows[half:] = 0
        self.width *= 2
        self.length = -(-self.length // 2)
        self.version += 1
        self._smooth.clear()


class RecentSteps(MetricHistory):
    """The last steps, each by itself: where there is no room for another one, the older half goes."""

    def _shrink(self, step: int) -> None:
        kept = max(0, self.base + self.length - (step - self.capacity // 2))
        gone = self.length - kept
        for array in (self._low, self._high, self._total, self._count, self.rows, self.offsets):
            array[..., :kept] = array[..., gone : self.length].copy()
        self.base, self.length = self.base + gone if kept else step - self.capacity // 2, kept
        self._low[:, kept:] = self._high[:, kept:] = np.nan
        self._total[:, kept:] = 0
        self._count[:, kept:] = 0
        self.rows[kept:] = 0
        self.version += 1
        self._smooth.clear()


class _EMA:
    """An exponential mean that goes on where it stopped; the last bucket may still fill, so it is done again."""

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self.value = self.weight = 0.0
        self.done: Floats = np.empty(FIRST)
        self.closed = 0

    def until(self, total: Floats, count: NDArray[np.int32]) -> Floats:
        """The smoothed values of all buckets, from the sums and the numbers of values in each."""
        length = len(total)
        if length > len(self.done):
            self.done = np.r_[self.done, np.empty(max(length, 2 * len(self.done)) - len(self.done))]
        value, weight, begin = self.value, self.weight, self.closed
        sums, numbers = total[begin:].tolist(), count[begin:].tolist()
        out = []
        for place, (sum_, number) in enumerate(zip(sums, numbers, strict=True)):
            if begin + place == length - 1:
                self.value, self.weight, self.closed = value, weight, begin + place
            if number:
                # so many steps of this bucket's mean
                kept = self.beta if number == 1 else self.beta**number
                value = kept * value + (1 - kept) * sum_ / number
                weight = kept * weight + 1 - kept
                out.append(value / weight)
            else:
                out.append(np.nan)
        self.done[begin:length] = out
        return self.done[:length]


def _is_figure(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _matrix(rows: Sequence[Row], names: list[str]) -> Floats:
    """The figures (names, rows) of rows; NaN for what a row lacks or what is no number."""
    try:
        pick = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
        return np.array([pick(row) for row in rows], float).T
    except (KeyError, TypeError, ValueError):
        # a row unlike the others; it takes ten times as long
        return np.array([[_number(row.get(name)) for row in rows] for name in names])


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else np.nan
