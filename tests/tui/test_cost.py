"""Test the cost of the dashboard, on an otherwise idle machine."""

from pathlib import Path

import pytest

from tests.tui import cost

pytestmark = pytest.mark.slow


def test_a_growing_run_takes_little_of_a_core_and_of_the_line(tmp_path: Path):
    figures = cost.load(tmp_path)
    assert figures["cpu"] <= 6
    assert figures["kB_per_s"] <= 15


def test_a_million_lines_are_on_the_screen_in_a_second_and_in_bounded_memory(tmp_path: Path):
    figures = cost.attach(tmp_path, 1_000_000)
    assert figures["first_s"] < 1
    assert figures["memory_MB"] < 150


@pytest.mark.parametrize("workload", cost.WORKLOADS)
def test_the_training_keeps_its_speed(tmp_path: Path, workload: str):
    figures = cost.throughput(tmp_path, *cost.WORKLOADS[workload])
    # the median of twenty pairs; on a shared machine their middle half is +-4 % wide
    assert figures["ratio"] >= 0.97 or figures["high"] >= 1
