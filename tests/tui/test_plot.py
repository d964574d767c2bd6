"""Test the braille chart: it draws the logged values on stable axes."""

import math
from itertools import pairwise

import numpy as np
import pytest

from afdctl.tui.drawing.axis import Range, clip_outliers, fit, stable_range
from afdctl.tui.drawing.cells import Palette, braille, one_cell_each
from afdctl.tui.drawing.plot import Curve, Plot, draw

NONE = np.zeros(40, bool)
TRUE = Palette()


def picture(mean: list[float], broken: np.ndarray = NONE, palette: Palette = TRUE, **plot: object) -> list[str]:
    """The rows of a field of 20 x 4 cells."""
    curve = Curve(mean=np.array(mean, float), broken=broken, colour="L_C")
    cells = draw(Plot(curves=[curve], y=Range(0, 1), **plot), 25, 5, 4, 1, palette)
    return [row[4:24] for row in cells.text().splitlines()]


def dots(rows: list[str]) -> list[tuple[int, int]]:
    """The places of all dots, from the upper left."""
    places = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1)]
    found = []
    for y, row in enumerate(rows):
        for x, character in enumerate(row):
            if 0x2800 <= ord(character) <= 0x28FF:
                bits = ord(character) - 0x2800
                found += [(4 * y + places[bit][0], 2 * x + places[bit][1]) for bit in range(8) if bits >> bit & 1]
    return sorted(found)


def test_eight_dots_a_cell():
    grid = np.zeros((4, 2), bool)
    assert braille(grid).tolist() == [[0]]
    for place, bit in {(0, 0): 0x01, (3, 0): 0x40, (3, 1): 0x80, (2, 1): 0x20}.items():
        one = grid.copy()
        one[place] = True
        assert braille(one).tolist() == [[bit]]


def test_a_level_line_is_one_row_of_dots():
    assert dots(picture([0.5] * 40)) == [(8, column) for column in range(40)]


def test_a_rising_line_has_no_holes():
    found = dots(picture(list(np.linspace(0, 1, 40))))
    assert {column for _, column in found} == set(range(40))
    rows = [[row for row, column in found if column == each] for each in range(40)]
    assert all(max(right) >= min(left) - 1 for left, right in pairwise(rows))
    assert (rows[0][-1], rows[-1][0]) == (15, 0)


def test_columns_without_rows_are_bridged():
    mean = [0.5] + [math.nan] * 38 + [0.5]
    assert {column for _, column in dots(picture(mean))} == set(range(40))


def test_what_is_no_number_leaves_a_gap():
    mean, broken = np.full(40, 0.5), NONE.copy()
    mean[10:20], broken[10:20] = math.nan, True
    assert {column for _, column in dots(picture(list(mean), broken))} == {*range(10), *range(20, 40)}


def test_gaps_alone_draw_nothing():
    assert dots(picture([math.nan] * 40, np.ones(40, bool))) == []


@pytest.mark.parametrize("palette", [TRUE, Palette(depth="256"), Palette(depth="none")], ids=["true", "256", "none"])
def test_a_spike_in_the_band_is_seen(palette: Palette):
    low, high = np.full(40, 0.4), np.full(40, 0.5)
    high[17] = 1.0
    curve = Curve(mean=np.full(40, 0.45), broken=NONE, colour="L_C", low=low, high=high)
    cells = draw(Plot(curves=[curve], y=Range(0, 1)), 25, 5, 4, 1, palette)
    neighbour, spike = (cells.inks[0, 4 + column] for column in (2, 8))
    if palette.tints:
        assert cells.palette.ground_of(int(spike)) == "L_C/0.2" != cells.palette.ground_of(int(neighbour))
    else:
        assert cells.codes[0, 12] > 0x2800 > cells.codes[0, 6]


def test_a_band_that_leaves_the_picture_is_marked():
    curve = Curve(mean=np.full(40, 0.5), broken=NONE, colour="L_C", low=np.full(40, -3.0), high=np.full(40, 9.0))
    rows = draw(Plot(curves=[curve], y=Range(0, 1)), 25, 5, 4, 1, TRUE).text().splitlines()
    assert rows[0][4:24] == "▲" * 20
    assert rows[3][4:24] == "▼" * 20


def test_a_goal_a_cursor_and_ticks():
    rows = picture([math.nan] * 40, goal=0.5, cursor=0.5, ticks=[(0.0, "0"), (0.9, "600")])
    assert rows[2] == "╌" * 10 + "│" + "╌" * 9
    assert rows[4].split() == ["0", "600"]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.5, 1]), (-0.06, 0.01, [-0.05, -0.025, 0.0]), (0, 120000, [0, 50000, 100000])],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]):
    assert Range(low, high).ticks(3) == pytest.approx(ticks)


def test_a_logarithmic_axis_has_places_by_factors():
    axis = Range(0.01, 1, log=True)
    assert axis.fraction(np.array([0.01, 0.1, 1.0])) == pytest.approx([0, 0.5, 1])
    assert np.isnan(axis.fraction(np.array([0.0, -1.0]))).all()
    assert axis.ticks(4) == pytest.approx([0.01, 0.1, 1])


def test_an_axis_covers_its_curves_and_is_stable():
    assert fit([]) == Range(0, 1)
    wide = fit([np.array([1.0, 3.0])])
    assert wide.low < 1 < 3 < wide.high
    assert stable_range(wide, fit([np.array([1.0, 2.9])])) == wide
    assert stable_range(wide, fit([np.array([1.0, 2.0])])) != wide
    assert stable_range(wide, fit([np.array([1.0, 9.0])])).high > 9
    assert fit([np.array([0.1, 9.0])]).low == 0


def test_one_spike_does_not_flatten_the_rest():
    values = np.r_[np.ones(99), 1000.0]
    values[:50] = 2
    assert clip_outliers(values, values[:10]).max() <= 3


def test_every_character_takes_one_cell():
    assert one_cell_each("ε ok\t中\u0302") == "ε ok···"
