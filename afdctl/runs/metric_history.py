"""The metrics of all steps in bounded memory, in buckets of equally many steps whose width doubles as a run grows.

A bucket keeps minimum, maximum and sum of each metric, so a spike of one step in a million stays visible.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Row = Mapping[str, Any]

CAPACITY: Final = 16384
INITIAL_BUCKETS: Final = 512
NOT_METRICS: Final = {"event", "t", "step", "epoch"}


class MetricHistory:
    """Metrics by step. A bucket holds `width` steps, which doubles when `capacity` buckets are full.

    Steps up to `base` are not kept.
    """

    def __init__(self, capacity: int = CAPACITY, base: int = 0) -> None:
        self.capacity = capacity
        self.base = base
        self.width = 1
        self.length = 0
        self.names: dict[str, int] = {}
        self.rows: NDArray[np.int64] = np.zeros(INITIAL_BUCKETS, np.int64)
        self.offsets: NDArray[np.int64] = np.zeros(INITIAL_BUCKETS, np.int64)
        self._low, self._high = (np.full((0, INITIAL_BUCKETS), np.nan, np.float32) for _ in range(2))
        self._total = np.zeros((0, INITIAL_BUCKETS))
        self._count = np.zeros((0, INITIAL_BUCKETS), np.int32)
        self._smooth: dict[tuple[str, float], _EMA] = {}

    @classmethod
    def of(cls, tables: Iterable[NDArray[Any]], capacity: int = CAPACITY) -> Self:
        """Make a history without offsets of tables of steps, whose columns are metrics where they hold floats."""
        history = cls(capacity)
        for table in tables:
            names = [name for name in table.dtype.names or () if table.dtype[name].kind == "f"]
            history._add_names(dict.fromkeys(names))
            missing = np.full(len(table), np.nan)
            values = np.array([table[name] if name in names else missing for name in history.names])
            history._add(table["step"], values, np.zeros(len(table), np.int64))
        return history

    @property
    def last_step(self) -> int:
        """The last step that a bucket may hold."""
        return self.base + self.length * self.width

    def extend(self, rows: Sequence[Row], offsets: Sequence[int]) -> None:
        """Add rows of ascending steps (the first is 1); `offsets` are the bytes at which their lines begin."""
        if not rows:
            return
        self._add_names(rows[0])
        steps = np.fromiter((row["step"] for row in rows), np.int64, len(rows))
        self._add(steps, _matrix(rows, list(self.names)), np.asarray(offsets, np.int64))

    def _add(self, steps: NDArray[np.int64], values: Floats, offsets: NDArray[np.int64]) -> None:
        """Add the metrics (names, rows) of ascending steps (rows,)."""
        self._make_room(int(steps.max()))
        bucket = np.maximum(steps - 1 - self.base, 0) // self.width
        starts = np.flatnonzero(np.r_[True, bucket[1:] != bucket[:-1]])
        self._fold_in(values, bucket[starts], starts, offsets)
        self.length = max(self.length, int(bucket[-1]) + 1)

    def _fold_in(
        self, values: Floats, into: NDArray[np.int64], starts: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> None:
        """Merge values (names, rows) into the buckets `into`; `starts` are the rows at which each bucket begins."""
        finite = np.isfinite(values)
        # fmin and fmax ignore NaN, so one bad step does not hide the bucket's others
        self._low[:, into] = np.fmin(self._low[:, into], np.fmin.reduceat(values, starts, axis=1))
        self._high[:, into] = np.fmax(self._high[:, into], np.fmax.reduceat(values, starts, axis=1))
        self._total[:, into] += np.add.reduceat(np.where(finite, values, 0), starts, axis=1)
        self._count[:, into] += np.add.reduceat(finite.astype(np.int32), starts, axis=1)
        is_new = self.rows[into] == 0
        self.offsets[into[is_new]] = offsets[starts[is_new]]
        self.rows[into] += np.diff(np.r_[starts, values.shape[1]])

    def cut(self, step: int) -> None:
        """Drop the buckets after `step`, which a resumed run repeats. A bucket of several steps stays whole."""
        length = max(0, min(self.length, -(-(step - self.base) // self.width)))
        self._low[:, length : self.length] = self._high[:, length : self.length] = np.nan
        self._total[:, length : self.length] = 0
        self._count[:, length : self.length] = 0
        self.rows[length : self.length] = 0
        self.length = length
        self._smooth.clear()

    def steps(self) -> Floats:
        """Return the middle step of each bucket."""
        steps: Floats = self.base + np.arange(self.length, dtype=np.float64) * self.width + (self.width + 1) / 2
        return steps

    def band(self, name: str) -> tuple[Floats, Floats]:
        """Return minimum and maximum of each bucket; NaN without a value."""
        row = self.names[name]
        return self._low[row, : self.length].astype(float), self._high[row, : self.length].astype(float)

    def mean(self, name: str) -> Floats:
        """Return the mean of each bucket; NaN without a value."""
        row = self.names[name]
        count = self._count[row, : self.length]
        total: Floats = self._total[row, : self.length] / np.maximum(count, 1)
        total[count == 0] = np.nan
        return total

    def missing(self, name: str) -> NDArray[np.bool_]:
        """Return which buckets have rows but no value, where a curve has a gap."""
        gap: NDArray[np.bool_] = (self.rows[: self.length] > 0) & (self._count[self.names[name], : self.length] == 0)
        return gap

    def smooth(self, name: str, beta: float) -> Floats:
        """Return the bias-corrected exponential moving average with weight `beta` at the end of each bucket."""
        if beta == 0:
            return self.mean(name)
        average = self._smooth.setdefault((name, beta), _EMA(beta))
        row = self.names[name]
        return average.update(self._total[row, : self.length], self._count[row, : self.length])

    def latest(self, name: str, beta: float = 0.98) -> float | None:
        """Return the last smoothed value, or None."""
        if name not in self.names or not self.length:
            return None
        values = self.smooth(name, beta)[-64:]
        finite = values[np.isfinite(values)]
        return float(finite[-1]) if len(finite) else None

    def nearest(self, step: float) -> int | None:
        """Return the non-empty bucket that is nearest to a step."""
        filled = np.flatnonzero(self.rows[: self.length])
        if not len(filled):
            return None
        return int(filled[np.abs(self.steps()[filled] - step).argmin()])

    def _add_names(self, row: Row) -> None:
        new = [name for name in row if name not in self.names and name not in NOT_METRICS and _is_metric(row[name])]
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
            added = self._low.shape[1]
            empty = np.full((len(self.names), added), np.nan, np.float32)
            self._low, self._high = np.hstack([self._low, empty]), np.hstack([self._high, empty])
            self._total = np.hstack([self._total, np.zeros((len(self.names), added))])
            self._count = np.hstack([self._count, np.zeros((len(self.names), added), np.int32)])
            self.rows, self.offsets = (np.r_[array, np.zeros(added, np.int64)] for array in (self.rows, self.offsets))

    def _shrink(self, step: int) -> None:
        """Merge the buckets in pairs."""
        half = self._low.shape[1] // 2
        self._low[:, :half] = np.fmin(self._low[:, ::2], self._low[:, 1::2])
        self._high[:, :half] = np.fmax(self._high[:, ::2], self._high[:, 1::2])
        self._total[:, :half] = self._total[:, ::2] + self._total[:, 1::2]
        self._count[:, :half] = self._count[:, ::2] + self._count[:, 1::2]
        # the left bucket of a pair may have no row
        self.offsets[:half] = np.where(self.rows[::2] > 0, self.offsets[::2], self.offsets[1::2])
        self.rows[:half] = self.rows[::2] + self.rows[1::2]
        self._low[:, half:] = self._high[:, half:] = np.nan
        self._total[:, half:] = 0
        self._count[:, half:] = 0
        self.rows[half:] = 0
        self.width *= 2
        self.length = -(-self.length // 2)
        self._smooth.clear()


class RecentSteps(MetricHistory):
    """The last steps, one a bucket; when all buckets are full, the older half is dropped."""

    def _shrink(self, step: int) -> None:
        length = max(0, self.base + self.length - (step - self.capacity // 2))
        dropped = self.length - length
        for array in (self._low, self._high, self._total, self._count, self.rows, self.offsets):
            array[..., :length] = array[..., dropped : self.length].copy()
        self.base, self.length = self.base + dropped if length else step - self.capacity // 2, length
        self._low[:, length:] = self._high[:, length:] = np.nan
        self._total[:, length:] = 0
        self._count[:, length:] = 0
        self.rows[length:] = 0
        self._smooth.clear()


class _EMA:
    """Incremental exponential moving average; the last bucket may still grow, so it is computed again."""

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self.value = self.weight = 0.0
        self.done: Floats = np.empty(INITIAL_BUCKETS)
        self.closed = 0

    def update(self, total: Floats, count: NDArray[np.int32]) -> Floats:
        """Return the smoothed values of all buckets, from the sums and counts of their values."""
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
                # as if each of its steps had the bucket's mean
                decay = self.beta if number == 1 else self.beta**number
                value = decay * value + (1 - decay) * sum_ / number
                weight = decay * weight + 1 - decay
                out.append(value / weight)
            else:
                out.append(np.nan)
        self.done[begin:length] = out
        return self.done[:length]


def _is_metric(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _matrix(rows: Sequence[Row], names: list[str]) -> Floats:
    """Return the metrics (names, rows) of rows; NaN for a missing value and for one that is not a number."""
    try:
        pick = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
        return np.array([pick(row) for row in rows], float).T
    except (KeyError, TypeError, ValueError):
        # rows with different fields; this takes ten times as long
        return np.array([[_number(row.get(name)) for row in rows] for name in names])


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else np.nan
