"""Reading figures back."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Curve = tuple[list[float], list[float]]


@pytest.fixture
def panel_of() -> Callable[[Figure, str], Axes]:
    """The panel with a title, or whose title begins with it."""
    return lambda figure, title: next(one for one in figure.axes if one.get_title(loc="left").startswith(title))


@pytest.fixture
def curve_of() -> Callable[[Axes, str], Curve]:
    """x and y of the line with a label."""

    def read(panel: Axes, label: str) -> Curve:
        (line,) = (line for line in panel.get_lines() if line.get_label() == label)
        return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()

    return read


@pytest.fixture
def band_of() -> Callable[[Axes], dict[float, tuple[float, float]]]:
    """x -> lower and upper edge of the only band of a panel."""

    def read(panel: Axes) -> dict[float, tuple[float, float]]:
        (band,) = panel.collections
        corners = band.get_paths()[0].vertices
        return {
            float(x): (corners[corners[:, 0] == x, 1].min(), corners[corners[:, 0] == x, 1].max())
            for x in corners[:, 0]
        }

    return read
