"""The layout: which pane goes where, for any size of the terminal."""

from collections.abc import Mapping
from typing import NamedTuple

from afdctl.tui.view import View


class PanePlace(NamedTuple):
    """A rectangle of cells."""

    x: int
    y: int
    width: int
    height: int

    def contains(self, x: int, y: int) -> bool:
        """Return whether a cell is inside."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


# the panes by name; charts are `chart 0`, `chart 1`, ...
Layout = Mapping[str, PanePlace]
# the health pane's height: nine checks of AFD and the frame
HEALTH_HEIGHT = 11
SYSTEM_HEIGHT = 6
SIDE_WIDTH = 38


def tier(width: int, height: int) -> str:
    """Return the layout that a size has room for, from "status" (some words) to "wall" (three columns of charts)."""
    if width < 40 or height < 8:
        return "status"
    if width < 60 or height < 16:
        return "one"
    if width < 76:
        return "column"
    if width < 110 or height < 34:
        return "compact"
    return "wall" if width >= 200 and height >= 50 else "full"


def compute_layout(
    width: int, height: int, view: View, *, charts: int = 4, attacks: int = 0, compare: bool = False
) -> Layout:
    """Place all visible panes: up to `charts` charts or, if not 0, a grid of `attacks` rows instead."""
    kind = tier(width, height)
    if kind == "status":
        return {"status": PanePlace(0, 0, width, height)}
    places: dict[str, PanePlace] = {}
    hidden = set(view.settings.hidden)
    top = 0
    if "header" not in hidden:
        top = {"one": 1, "column": 2, "compact": 2}.get(kind, 3)
        places["header"] = PanePlace(0, 0, width, top)
    bottom = height - 1
    places["footer"] = PanePlace(0, bottom, width, 1)
    right = width
    if kind in ("full", "wall"):
        right = _place_side_column(places, hidden, width, top, bottom, compare)
    elif view.side and view.side not in ("log", "header") and kind != "one":
        right = _place_side_pane(places, view.side, kind, width, top, bottom)
    elif view.side and kind == "one":
        return places | {view.side: PanePlace(0, top, width, bottom - top)}
    log = _log_height(kind, height) if "log" not in hidden and view.log != "off" else 0
    if kind == "column" and view.side in places:
        log = 0
    if view.side == "log" and kind in ("one", "column", "compact"):
        log = max(log, (bottom - top) // 2)
    if log:
        places["log"] = PanePlace(0, bottom - log, right, log)
    field = PanePlace(0, top, right, bottom - log - top)
    if kind == "column" and view.side in places:
        field = PanePlace(0, top, width, field.height - places[view.side or ""].height)
    if attacks:
        return places | _place_attacks(field, attacks)
    return places | _place_charts(field, kind, charts if not view.maximised else 1)


def _log_height(kind: str, height: int) -> int:
    if kind in ("full", "wall"):
        return 8 if height >= 40 else 6
    return 5 if height >= 30 and kind != "one" else 0


def _place_side_column(
    places: dict[str, PanePlace], hidden: set[str], width: int, top: int, bottom: int, compare: bool
) -> int:
    """Place the right column; return its first column of cells."""
    column_width = 40 if width >= 140 else 37
    names = [name for name in ("health", "accuracy", "system") if name not in hidden]
    if not names and not compare:
        return width
    x, room = width - column_width, bottom - top
    heights = {"health": min(HEALTH_HEIGHT, room // 3), "system": SYSTEM_HEIGHT}
    if compare:
        # one run's checks make room for the differences of the recipes
        names = ["compare"]
    heights = {name: heights.get(name, 0) for name in names}
    # the rest of the height goes to the pane with the most lines
    tallest = next((name for name in ("compare", "accuracy") if name in heights), names[0])
    heights[tallest] += room - sum(heights.values())
    y = top
    for name in names:
        places[name] = PanePlace(x, y, column_width, heights[name])
        y += heights[name]
    return x


def _place_side_pane(places: dict[str, PanePlace], name: str, kind: str, width: int, top: int, bottom: int) -> int:
    """Place the one side pane that was asked for, where there is no right column; return where it begins."""
    if kind == "column":
        height = (bottom - top) // 2
        places[name] = PanePlace(0, bottom - height, width, height)
        return width
    places[name] = PanePlace(width - SIDE_WIDTH, top, SIDE_WIDTH, bottom - top)
    return width - SIDE_WIDTH


def _place_charts(field: PanePlace, kind: str, charts: int) -> dict[str, PanePlace]:
    """Place as many charts as fit, in equal parts."""
    across = 1 if kind in ("one", "column") or field.width < 60 else 3 if kind == "wall" and field.width >= 150 else 2
    down = 1 if kind == "one" or field.height < 12 else 2
    if kind == "wall" and field.height >= 66:
        down = 3
    charts = max(1, min(charts, across * down))
    across = min(across, charts)
    down = min(down, -(-charts // across))
    places = {}
    for number in range(charts):
        row, column = divmod(number, across)
        # the last row may have fewer
        columns = across if row < down - 1 else charts - across * (down - 1)
        x, y = field.width * column // columns, field.height * row // down
        end_x, end_y = field.width * (column + 1) // columns, field.height * (row + 1) // down
        places[f"chart {number}"] = PanePlace(field.x + x, field.y + y, end_x - x, end_y - y)
    return places


def _place_attacks(field: PanePlace, attacks: int) -> dict[str, PanePlace]:
    """Place the grid of attacks, and their curves below it if there is room."""
    if field.height < 18:
        return {"grid": field}
    height = min(max(attacks + 4, 8), field.height * 3 // 5)
    return {
        "grid": PanePlace(field.x, field.y, field.width, height),
        "curves": PanePlace(field.x, field.y + height, field.width, field.height - height),
    }


def page_size(places: Layout) -> int:
    """Return how many charts a page shows."""
    return sum(name.startswith("chart") for name in places)
