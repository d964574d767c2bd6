"""Test the geometry and labels of a chart."""

import numpy as np
import pytest

from afdctl.export.report.chart import BOTTOM, LEFT, RIGHT, TOP, Chart, Line


def chart(*lines: Line, share: bool = False) -> Chart:
    return Chart("title", "ε", lines, share=share)


def test_the_smallest_and_largest_value_are_on_the_frame():
    line = Line(label="a", colour=0, x=np.array([0.0, 5, 10]), y=np.array([0.0, 2, 1]))
    assert chart(line).path(line) == f"M{LEFT} {BOTTOM}L{(LEFT + RIGHT) / 2} {TOP}L{RIGHT} {(TOP + BOTTOM) / 2}"


def test_shares_reach_from_0_to_100_percent():
    line = Line(label="a", colour=0, x=np.array([0.0, 1]), y=np.array([0.5, 0.5]), marks=True)
    one = chart(line, share=True)
    assert one.path(line) == f"M{LEFT} {(TOP + BOTTOM) / 2}L{RIGHT} {(TOP + BOTTOM) / 2}"
    assert [tick.text for tick in one.y_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert [point.text for point in one.points(line)] == ["a: 50.0 % at ε 0", "a: 50.0 % at ε 1"]


def test_a_missing_value_is_a_gap():
    line = Line(label="a", colour=0, x=np.arange(4.0), y=np.array([1.0, np.nan, 2, 3]), marks=True)
    assert chart(line).path(line).count("M") == 2
    assert len(chart(line).points(line)) == 3


def test_a_band_is_a_closed_path():
    line = Line(
        label="a", colour=0, x=np.array([0.0, 1]), y=np.array([1.0, 1]), low=np.array([0.0, 0]), high=np.array([2.0, 2])
    )
    assert chart(line).band(line) == f"M{LEFT} {TOP}L{RIGHT} {TOP}L{RIGHT} {BOTTOM}L{LEFT} {BOTTOM}Z"


def test_a_spike_in_the_band_does_not_flatten_the_line():
    high = np.full(100, 2.0)
    high[50] = 1e6
    line = Line(label="a", colour=0, x=np.arange(100.0), y=np.linspace(0, 1, 100), low=np.zeros(100), high=high)
    assert chart(line).y_range == (0, 2)


@pytest.mark.parametrize("values", [[], [np.nan], [3.0], [0.0, 0.0]])
def test_few_or_equal_values_still_make_a_chart(values: list[float]):
    line = Line(label="a", colour=0, x=np.arange(float(len(values))), y=np.array(values))
    one = chart(line)
    assert one.y_range[0] < one.y_range[1]
    assert "nan" not in one.path(line)
    assert one.x_ticks
    assert one.y_ticks


def test_ticks_of_small_and_large_numbers_are_short():
    line = Line(label="a", colour=0, x=np.array([0.0, 3e6]), y=np.array([0.0, 5.5e-4]))
    assert [tick.text for tick in chart(line).x_ticks] == ["0", "1M", "2M", "3M"]
    assert [tick.text for tick in chart(line).y_ticks][:3] == ["0", "2e-4", "4e-4"]
