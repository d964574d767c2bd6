"""Metrics in bounded memory: merging buckets keeps minimum, maximum and mean."""

import math
import tracemalloc

import numpy as np
import pytest

from afdctl.runs.metric_history import MetricHistory, RecentSteps


def rows(first: int, last: int, **figures: float | None) -> list[dict[str, float | None]]:
    return [{"step": step, "L_C": float(step), **figures} for step in range(first, last + 1)]


def filled(last: int, capacity: int = 64, chunk: int = 7) -> MetricHistory:
    series = MetricHistory(capacity)
    for first in range(1, last + 1, chunk):
        part = rows(first, min(last, first + chunk - 1))
        series.extend(part, [row["step"] * 100 for row in part])
    return series


def smoothed(values: list[float], beta: float) -> list[float]:
    value = weight = 0.0
    out = []
    for each in values:
        value, weight = beta * value + (1 - beta) * each, beta * weight + 1 - beta
        out.append(value / weight)
    return out


def test_few_steps_are_kept_each_by_itself():
    series = filled(50)
    assert series.width == 1
    assert series.steps().tolist() == list(range(1, 51))
    assert series.mean("L_C").tolist() == list(range(1, 51))
    assert series.offsets[:3].tolist() == [100, 200, 300]


def test_many_steps_share_buckets():
    series = filled(1000)
    assert (series.width, series.length) == (16, 63)
    low, high = series.band("L_C")
    assert (low[0], high[0], series.mean("L_C")[0]) == (1, 16, 8.5)
    assert (low[-1], high[-1]) == (993, 1000)
    assert series.offsets[1] == 1700
    assert series.rows[: series.length].sum() == 1000


def test_a_spike_survives_all_joining():
    series = MetricHistory(64)
    for step in range(1, 5001):
        series.extend([{"step": step, "L_C": 40.0 if step == 1234 else 1.0}], [0])
    _, high = series.band("L_C")
    assert np.flatnonzero(high == 40).tolist() == [(1234 - 1) // series.width]


def test_the_smoothed_line_is_the_exponential_mean_without_bias():
    series = filled(60)
    expected = smoothed([float(step) for step in range(1, 61)], 0.9)
    assert series.smooth("L_C", 0.9) == pytest.approx(expected)


def test_smoothing_is_incremental():
    one, other = filled(60), MetricHistory(64)
    for step in range(1, 61):
        other.extend(rows(step, step), [0])
        other.smooth("L_C", 0.98)
    assert other.smooth("L_C", 0.98) == pytest.approx(one.smooth("L_C", 0.98))


def test_a_missing_number_is_a_gap():
    series = MetricHistory()
    series.extend([{"step": n, "L_C": None if 3 <= n <= 5 else 1.0} for n in range(1, 9)], range(8))
    assert np.flatnonzero(series.missing("L_C")).tolist() == [2, 3, 4]
    assert series.latest("L_C") == pytest.approx(1.0)
    assert math.isnan(series.mean("L_C")[3])


def test_a_figure_that_comes_later_is_missing_before():
    series = filled(5)
    series.extend([{"step": 6, "L_C": 6.0, "kl": 2.0}], [0])
    assert np.isnan(series.mean("kl")[:5]).all()
    assert series.mean("kl")[5] == 2


def test_a_cut_forgets_the_later_steps():
    series = filled(50)
    series.smooth("L_C", 0.9)
    series.cut(20)
    assert (series.last_step, series.latest("L_C", 0.0)) == (20, 20)
    series.extend([{"step": 21, "L_C": -1.0}], [0])
    assert series.band("L_C")[0][20] == -1
    assert series.band("L_C")[1][20] == -1


def test_gaps_between_steps_are_empty_buckets():
    series = MetricHistory()
    series.extend([{"step": 1, "L_C": 1.0}, {"step": 9, "L_C": 2.0}], [0, 10])
    assert series.rows[: series.length].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert not series.missing("L_C").any()
    assert series.nearest(6) == 8
    assert MetricHistory().nearest(6) is None


def test_the_recent_steps_slide():
    recent = RecentSteps(64)
    for first in range(1, 1001, 10):
        recent.extend(rows(first, first + 9), [0] * 10)
    assert recent.width == 1
    assert 32 <= recent.length <= 64
    assert recent.steps()[-1] == 1000
    assert recent.mean("L_C").tolist() == recent.steps().tolist()
    recent.cut(990)
    assert recent.latest("L_C", 0.0) == 990


@pytest.mark.slow
def test_memory_does_not_grow_with_the_run():
    series = MetricHistory()
    names = {f"figure_{n}": 1.0 for n in range(16)}
    tracemalloc.start()
    for first in range(1, 200_001, 1000):
        series.extend([{"step": n, **names} for n in range(first, first + 1000)], range(1000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert series.width == 16
    assert peak < 40e6
